"""What the comparisons with another quantizer share: the same tokens, our run, and one reader for both."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT

_GEMM_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Which of eight neighbouring outputs stands in which nibble of a word, lowest first (AutoAWQ's GEMM)."""


def first_blocks(model: Path, count: int, target: Path) -> Path:
    """Write a model's first blocks with its embedding, last norm, head and tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    config = AutoConfig.from_pretrained(model, num_hidden_layers=count)
    AutoModelForCausalLM.from_pretrained(model, config=config, dtype="auto").save_pretrained(target)
    AutoTokenizer.from_pretrained(model).save_pretrained(target)
    return target


def windows(model: Path, file: Path, *, samples: int, sequence_length: int, allow_short: bool = True) -> Any:
    """The token windows that our own engine takes of a text, as a TokenBatch."""
    from transformers import AutoTokenizer

    from quantize_lib.calibration.text_spec import TextSpec
    from quantize_lib.calibration.texts import collect_texts
    from quantize_lib.calibration.tokens import tokenize

    spec = TextSpec(
        files=(file.resolve(),), samples=samples, sequence_length=sequence_length, allow_short=allow_short
    )
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    return tokenize(
        collect_texts(spec, token=None).texts,
        tokenizer,
        samples=samples,
        sequence_length=sequence_length,
        seed=spec.seed,
        allow_short=allow_short,
    )


def quantize(
    work: Path,
    model: Path,
    entries: list[dict[str, Any]],
    *,
    calibration: Path,
    samples: int,
    sequence_length: int,
    evaluate: dict[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Our `run` on the CPU into WORK/ours, unpublished; its report.

    Args:
        entries: of the manifest's `quantize`.
        evaluate: of the manifest; None for none.
        say: gets every line that the run prints.

    Raises:
        subprocess.CalledProcessError: where it fails.
    """
    text = {"files": [str(calibration.resolve())], "samples": samples, "sequence_length": sequence_length}
    manifest = {
        "version": 1,
        "defaults": {"calibration": text},
        "models": [{"id": str(model.resolve()), "quantize": entries}],
        **({"evaluate": evaluate} if evaluate else {}),
    }
    path, output = work / "quantize.yml", work / "ours"
    # What an earlier benchmark left would be skipped.
    shutil.rmtree(output, ignore_errors=True)
    # JSON is YAML.
    path.write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    command = [sys.executable, str(ROOT / "entrypoint.py"), "run", str(path), "--no-publish"]
    command += ["--device", "cpu", "--output", str(output)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            say(line.rstrip("\n"))
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    report: dict[str, Any] = json.loads((output / "report.json").read_text(encoding="utf-8"))
    return report


def fill(model: Any, folder: Path, *, blocks: int | None = None) -> None:
    """Put a packed checkpoint into a plain model: dequantized in float32, no kernel in between.

    Everything else that it holds (norms that AWQ divided, biases, the embedding) goes in as it is.

    Args:
        blocks: how many the checkpoint has, where the model has more: these stay as they are.

    Raises:
        SystemExit: where the format is another one, or a weight of the model is not in the checkpoint.
    """
    import torch
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))["quantization_config"]
    # AutoRound names none where it writes GPTQ's.
    format_name = config.get("checkpoint_format", config.get("format", config.get("quant_method")))
    if format_name not in _READERS:
        raise SystemExit(f"{folder} is in the format {format_name}, none of {', '.join(_READERS)}")
    packed, beside, read = _READERS[format_name]
    tensors: dict[str, Any] = {}
    for shard in sorted(folder.glob("*.safetensors")):
        tensors.update(load_file(shard))
    state = model.state_dict()
    missing = set(state)
    if model.config.tie_word_embeddings:
        missing.discard("lm_head.weight")
    with torch.no_grad():
        for name in sorted(tensors):
            layer, _, part = name.rpartition(".")
            if part in beside:
                continue
            if part == packed:
                name = f"{layer}.weight"
                state[name].copy_(read(tensors, layer, config))
            else:
                state[name].copy_(tensors[name])
            missing.discard(name)
    if blocks is not None:
        missing = {name for name in missing if not _after(name, blocks)}
    if missing:
        raise SystemExit(f"{folder} has nothing for {', '.join(sorted(missing))}")


def _after(name: str, blocks: int) -> bool:
    """Whether a tensor belongs to a block behind the first ones."""
    number = next((part for part in name.split(".") if part.isdecimal()), None)
    return number is not None and int(number) >= blocks


def _gptq(tensors: dict[str, Any], layer: str, config: dict[str, Any]) -> Any:
    bits = config["bits"]
    codes = _stream(tensors[f"{layer}.qweight"], bits)
    zeros = _stream(tensors[f"{layer}.qzeros"].T, bits).T + 1
    group = tensors[f"{layer}.g_idx"].long()
    return ((codes - zeros[group]) * tensors[f"{layer}.scales"].float()[group]).T


def _stream(words: Any, bits: int) -> Any:
    """Codes of the little-endian stream of bits down each column, int64."""
    import torch

    unsigned = words.long() & 0xFFFFFFFF
    position = torch.arange(len(words) * 32 // bits) * bits
    word, offset = position // 32, (position % 32).unsqueeze(1)
    following = unsigned[(word + 1).clamp(max=len(words) - 1)]
    return (unsigned[word] >> offset | following << (32 - offset)) & (1 << bits) - 1


def _gemm(tensors: dict[str, Any], layer: str, config: dict[str, Any]) -> Any:
    if config["bits"] != 4:
        raise SystemExit(f"{layer} has {config['bits']} bits; the format gemm has 4")
    codes, zeros = (_nibbles(tensors[f"{layer}.{part}"]) for part in ("qweight", "qzeros"))
    size = len(codes) // len(zeros)
    codes, zeros = codes.float(), zeros.float().repeat_interleave(size, 0)
    return ((codes - zeros) * tensors[f"{layer}.scales"].float().repeat_interleave(size, 0)).T


def _compressed(tensors: dict[str, Any], layer: str, config: dict[str, Any]) -> Any:
    (group,) = config["config_groups"].values()
    if not group["weights"]["symmetric"]:
        raise SystemExit(f"{layer} has zero points, which are not read here")
    bits, columns = group["weights"]["num_bits"], int(tensors[f"{layer}.weight_shape"][1])
    codes = _stream(tensors[f"{layer}.weight_packed"].T, bits)[:columns].T - 2 ** (bits - 1)
    scales = tensors[f"{layer}.weight_scale"].float()
    return codes * scales.repeat_interleave(columns // scales.shape[1], 1)


def _nibbles(words: Any) -> Any:
    """Rows of packed words → rows of codes in the order of the outputs."""
    import torch

    codes = torch.empty(len(words), words.shape[1], 8, dtype=torch.int64)
    for nibble, output in enumerate(_GEMM_ORDER):
        codes[:, :, output] = words.long() >> 4 * nibble & 15
    return codes.flatten(1)


_BESIDE = ("qzeros", "scales", "g_idx")
_READERS = {
    "gptq": ("qweight", _BESIDE, _gptq),
    "gemm": ("qweight", _BESIDE, _gemm),
    "pack-quantized": ("weight_packed", ("weight_scale", "weight_shape"), _compressed),
}
"""By the format: the part of a layer that is packed, those that go with it, and what makes float32 weights,
(out, in), of the checkpoint's tensors, the layer's name and the quantization config."""
