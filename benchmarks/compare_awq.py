"""Our AWQ beside GPTQModel's: a model's first blocks, the same calibration tokens, output error on others.

    python -m benchmarks.compare_awq --model DIR --calibration FILE --held-out FILE ... --work DIR

GPTQModel's AWQ is slow on a CPU, so only the first three blocks are taken, with the model's embedding, last
norm and head. It computes in float16 there: its layer takes no float32. It runs twice, with zero points (as
ours, and as AutoAWQ does) and symmetric (its default). All checkpoints are dequantized by one function into
float32 models. On held-out text, each token's hidden state after the last block is compared with that of the
unquantized blocks, ‖Δ‖² / ‖h‖², and the next-token distributions by KL divergence. About 10 minutes on
2 cores. Prints a table and writes WORK/compare-awq.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.checkpoints import fill, first_blocks, quantize, windows
from benchmarks.comparison import (
    circumstances,
    comparison_parser,
    measure_rows,
    peer_row,
    quantize_with_gptqmodel,
)

MODULE = "benchmarks.compare_awq"
OURS = "Model Quantizer"
PEERS = {"GPTQModel, zero points": False, "GPTQModel, symmetric": True}


def main() -> int:
    """Run both sides, measure and print; or, with --child, one part of that."""
    arguments = _arguments()
    work: Path = arguments.work
    if arguments.child == "measure":
        return _measure(arguments)
    if arguments.child:
        return _quantize_with_gptqmodel(arguments, sym=PEERS[arguments.child])
    work.mkdir(parents=True, exist_ok=True)
    report = quantize(
        work,
        first_blocks(arguments.model, arguments.blocks, work / "model"),
        [{"method": "awq", "bits": 4, "group_size": arguments.group_size}],
        calibration=arguments.calibration,
        samples=arguments.samples,
        sequence_length=arguments.sequence_length,
    )
    cell = report["cells"][0]
    rows: dict[str, dict[str, Any]] = {OURS: {"settings": cell["settings"]}}
    folders = [work / "ours" / cell["path"]]
    for peer in PEERS:
        rows[peer] = peer_row(MODULE, work, peer, report)
        folders.append(work / peer)
    measure_rows(MODULE, work, rows, folders)
    result = {**circumstances(arguments), "blocks": arguments.blocks, "rows": rows}
    (work / "compare-awq.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    _print(result)
    return 0


def _arguments() -> argparse.Namespace:
    parser = comparison_parser(__doc__, tuple(PEERS), samples=16, evaluate_samples=20)
    parser.add_argument("--blocks", type=int, default=3)
    return parser.parse_args()


def _tokens(arguments: argparse.Namespace, path: Path, samples: int) -> Any:
    return windows(arguments.model, path, samples=samples, sequence_length=arguments.sequence_length)


def _quantize_with_gptqmodel(arguments: argparse.Namespace, *, sym: bool) -> int:
    import torch
    from gptqmodel import BACKEND, GPTQModel, QuantizeConfig

    batch = _tokens(arguments, arguments.calibration, arguments.samples)
    settings = {"bits": 4, "group_size": arguments.group_size, "sym": sym, "format": "gemm"}
    config = QuantizeConfig(quant_method="awq", **settings)
    # The default backend asks for CUDA.
    backend = BACKEND.AWQ_TORCH
    folder = str(arguments.work / "model")
    model = GPTQModel.load(folder, config, dtype=torch.float16, device="cpu", backend=backend)
    target = arguments.work / arguments.child
    seconds = quantize_with_gptqmodel(model, batch.ids, target, backend=backend)
    made = {
        "tokens_digest": batch.digest,
        "settings": {**settings, "dtype": "float16", "backend": "AWQ_TORCH", "batch_size": 1},
        "seconds": round(seconds, 1),
    }
    (arguments.work / f"{arguments.child}.json").write_text(json.dumps(made), encoding="utf-8")
    return 0


def _measure(arguments: argparse.Namespace) -> int:
    """Each checkpoint's relative error after the last block, and KL divergence, on every held-out text."""
    import torch
    from transformers import AutoModelForCausalLM

    from quantize_lib.logits import Predictions, token_kl

    def load() -> Any:
        return AutoModelForCausalLM.from_pretrained(arguments.work / "model", dtype=torch.float32).eval()

    base, quantized = load(), [load() for _ in arguments.checkpoint]
    for model, folder in zip(quantized, arguments.checkpoint, strict=True):
        fill(model, folder)
    after_blocks: list[Any] = []
    for model in (base, *quantized):
        model.model.norm.register_forward_pre_hook(lambda _, inputs: after_blocks.append(inputs[0]))
    found: list[dict[str, Any]] = [{} for _ in quantized]
    for path in arguments.held_out:
        errors: list[list[Any]] = [[] for _ in quantized]
        divergences: list[list[Any]] = [[] for _ in quantized]
        with torch.inference_mode():
            for row in _tokens(arguments, path, arguments.evaluate_samples).ids.split(1):
                after_blocks.clear()
                before = Predictions(base(row, use_cache=False).logits)
                for index, model in enumerate(quantized):
                    after = Predictions(model(row, use_cache=False).logits)
                    states = after_blocks[0]
                    difference = (after_blocks.pop() - states).square().sum(-1)
                    errors[index].append(difference / states.square().sum(-1))
                    divergences[index].append(token_kl(before, after))
        for index, figures in enumerate(found):
            figures[path.name] = {
                "relative_error": float(torch.cat(errors[index], 1).mean()),
                "kl_divergence": float(torch.cat(divergences[index], 1).mean()),
            }
    (arguments.work / "measured.json").write_text(json.dumps({"quantized": found}), encoding="utf-8")
    return 0


def _print(result: dict[str, Any]) -> None:
    print(json.dumps(result, indent=2))
    head = "".join(f"{f'error, {text}':>28}{'KL':>10}" for text in result["texts"])
    print(f"\n{'':<26}{'seconds':>10}{head}")
    for name, row in result["rows"].items():
        cells = "".join(
            f"{row[text]['relative_error']:>28.6f}{row[text]['kl_divergence']:>10.5f}"
            for text in result["texts"]
        )
        print(f"{name:<26}{row.get('seconds', ''):>10}{cells}")


if __name__ == "__main__":
    sys.exit(main())
