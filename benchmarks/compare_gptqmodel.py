"""Model Quantizer beside GPTQModel: the same model, calibration tokens and settings, one after the other.

    python benchmarks/compare_gptqmodel.py --model DIR --calibration FILE --held-out FILE ... --work DIR

Each side runs in a process of its own, in float32. Both checkpoints are then read by one function that knows
nothing of either (packed tensors to float32 weights, no kernel in between), and measured on the same tokens.
Our side makes a checkpoint of 8 bits in the same pass, to be held against the base model.

Prints a table and writes WORK/compare.json, which benchmarks/speed.py takes as its peer: `seconds` is the
time from the start of calibration to the saved checkpoint there, without imports and loading. Ours is not
timed here (two cells, reloads and checks): that is what speed.py is for.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from quantize_lib.files import sha256_file  # noqa: E402 - the line above finds it

_PACKAGES = ("torch", "transformers", "gptqmodel")


def main() -> int:
    """Run both sides, measure and print; or, with --child, one part of that."""
    arguments = _arguments()
    work: Path = arguments.work
    if arguments.child == "gptqmodel":
        return _quantize_with_gptqmodel(arguments)
    if arguments.child == "measure":
        return _measure(arguments)
    work.mkdir(parents=True, exist_ok=True)
    manifest = _manifest(arguments)
    output = work / "ours"
    command = [sys.executable, str(ROOT / "entrypoint.py"), "run", str(manifest)]
    subprocess.run([*command, "--no-publish", "--device", "cpu", "--output", str(output)], check=True)
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    child = [sys.executable, __file__, *sys.argv[1:], "--child"]
    subprocess.run([*child, "gptqmodel"], check=True, env={**os.environ, "GPTQMODEL_CPU_WORKERS": "2"})
    made = json.loads((work / "gptqmodel.json").read_text(encoding="utf-8"))
    rows: dict[str, dict[str, Any]] = {}
    folders: dict[str, Path] = {}
    for cell in report["cells"]:
        if made["tokens_digest"] != cell["calibration"]["tokens_digest"]:
            print("the two sides did not see the same calibration tokens", file=sys.stderr)
            return 1
        name = f"Model Quantizer, {cell['bits']} bits"
        rows[name], folders[name] = {"settings": cell["settings"]}, output / cell["path"]
    peer = f"GPTQModel, {arguments.bits} bits"
    rows[peer], folders[peer] = made, work / "gptqmodel"
    base: dict[str, Any] = {}
    for name, folder in folders.items():
        subprocess.run([*child, "measure", "--checkpoint", str(folder)], check=True)
        measured = json.loads((work / "measured.json").read_text(encoding="utf-8"))
        base = measured["base"]
        rows[name].update(measured["quantized"])
    result = {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {package: version(package) for package in _PACKAGES},
        "bits": arguments.bits,
        "group_size": arguments.group_size,
        "calibration": [arguments.samples, arguments.sequence_length],
        "texts": {path.name: sha256_file(path) for path in arguments.held_out},
        "rows": {"base": base, **rows},
    }
    (work / "compare.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    _print(result, [path.name for path in arguments.held_out])
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, nargs="+", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--group-size", type=int, default=64)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--sequence-length", type=int, default=512)
    parser.add_argument("--evaluate-samples", type=int, default=40)
    parser.add_argument("--child", choices=("gptqmodel", "measure"), help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _manifest(arguments: argparse.Namespace) -> Path:
    """Our side's manifest; JSON is YAML."""
    calibration = {
        "files": [str(arguments.calibration.resolve())],
        "samples": arguments.samples,
        "sequence_length": arguments.sequence_length,
    }
    entry = {"method": "gptq", "bits": sorted({arguments.bits, 8}), "group_size": arguments.group_size}
    manifest = {
        "version": 1,
        "defaults": {"calibration": calibration},
        "models": [{"id": str(arguments.model.resolve()), "quantize": [entry]}],
    }
    path: Path = arguments.work / "quantize.yml"
    path.write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    return path


def _tokens(arguments: argparse.Namespace, path: Path, samples: int) -> Any:
    """The windows that our own engine takes of a text, as a TokenBatch."""
    from transformers import AutoTokenizer

    from quantize_lib.calibration.texts import collect_texts
    from quantize_lib.calibration.tokens import tokenize
    from quantize_lib.types import TextSpec

    length = arguments.sequence_length
    spec = TextSpec(files=(path.resolve(),), samples=samples, sequence_length=length, allow_short=True)
    texts = collect_texts(spec, token=None).texts
    tokenizer: Any = AutoTokenizer.from_pretrained(arguments.model)
    return tokenize(
        texts, tokenizer, samples=samples, sequence_length=length, seed=spec.seed, allow_short=True
    )


def _quantize_with_gptqmodel(arguments: argparse.Namespace) -> int:
    import torch
    from gptqmodel import GPTQModel, QuantizeConfig

    batch = _tokens(arguments, arguments.calibration, arguments.samples)
    settings = {"bits": arguments.bits, "group_size": arguments.group_size, "sym": True, "desc_act": False}
    config = QuantizeConfig(**settings)
    model = GPTQModel.load(str(arguments.model), config, dtype=torch.float32, device="cpu")
    samples = [{"input_ids": ids.tolist(), "attention_mask": [1] * len(ids)} for ids in batch.ids]
    start = time.perf_counter()
    model.quantize(samples, batch_size=1)
    model.save(str(arguments.work / "gptqmodel"))
    seconds = round(time.perf_counter() - start, 1)
    found = {
        **settings,
        "dtype": "float32",
        "act_group_aware": config.act_group_aware,
        "damp_percent": config.damp_percent,
    }
    made = {"tokens_digest": batch.digest, "settings": found, "seconds": seconds}
    (arguments.work / "gptqmodel.json").write_text(json.dumps(made), encoding="utf-8")
    return 0


def _measure(arguments: argparse.Namespace) -> int:
    """Perplexity of base and checkpoint, and KL divergence, on every held-out text."""
    import torch
    from transformers import AutoModelForCausalLM

    from quantize_lib.metrics import perplexity, token_kl, token_nll

    def load() -> Any:
        return AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()

    base, quantized = load(), load()
    _fill(quantized, arguments.checkpoint)
    found: dict[str, Any] = {"base": {}, "quantized": {}}
    for path in arguments.held_out:
        ids = _tokens(arguments, path, arguments.evaluate_samples).ids
        losses, base_losses, divergences = [], [], []
        with torch.inference_mode():
            for row in ids.split(1):
                before, after = (model(row, use_cache=False).logits for model in (base, quantized))
                base_losses.append(token_nll(before, row))
                losses.append(token_nll(after, row))
                divergences.append(token_kl(before, after))
        found["base"][path.name] = {"perplexity": perplexity(torch.cat(base_losses))}
        found["quantized"][path.name] = {
            "perplexity": perplexity(torch.cat(losses)),
            "kl_divergence": float(torch.cat(divergences).mean()),
        }
    (arguments.work / "measured.json").write_text(json.dumps(found), encoding="utf-8")
    return 0


def _fill(model: Any, folder: Path) -> None:
    """Put a GPTQ checkpoint's tensors, dequantized in float32, into a plain model."""
    import torch
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))["quantization_config"]
    if config.get("checkpoint_format", config.get("format")) != "gptq":
        raise SystemExit(f"{folder} is not in the format gptq")
    bits = config["bits"]
    tensors: dict[str, Any] = {}
    for shard in sorted(folder.glob("*.safetensors")):
        tensors.update(load_file(shard))
    state = model.state_dict()
    with torch.no_grad():
        for name in sorted(tensors):
            layer, _, part = name.rpartition(".")
            if part == "qweight":
                codes = _unpack(tensors[name], bits)
                zeros = _unpack(tensors[f"{layer}.qzeros"].T, bits).T + 1
                group = tensors[f"{layer}.g_idx"].long()
                weight = (codes - zeros[group]) * tensors[f"{layer}.scales"].float()[group]
                state[f"{layer}.weight"].copy_(weight.T)
            elif part not in ("qzeros", "scales", "g_idx"):
                state[name].copy_(tensors[name])


def _unpack(words: Any, bits: int) -> Any:
    """Codes of the little-endian stream of bits down each column, int64."""
    import torch

    unsigned = words.long() & 0xFFFFFFFF
    position = torch.arange(len(words) * 32 // bits) * bits
    word, offset = position // 32, (position % 32).unsqueeze(1)
    following = unsigned[(word + 1).clamp(max=len(words) - 1)]
    return (unsigned[word] >> offset | following << (32 - offset)) & (1 << bits) - 1


def _print(result: dict[str, Any], texts: list[str]) -> None:
    print(json.dumps(result, indent=2))
    print()
    head = "".join(f"{f'perplexity {text}':>32}{'KL':>10}" for text in texts)
    print(f"{'':<26}{'seconds':>10}{head}")
    for name, row in result["rows"].items():
        cells = "".join(
            f"{row[text]['perplexity']:>32.3f}{row[text].get('kl_divergence', 0.0):>10.4f}" for text in texts
        )
        print(f"{name:<26}{row.get('seconds', ''):>10}{cells}")


if __name__ == "__main__":
    sys.exit(main())
