"""Three checkpoints from one pass on a GPU, beside GPTQModel's time for one of them.

    python -m benchmarks.gpu --work DIR          # an 8B Llama's shape, on CUDA
    python -m benchmarks.gpu --work DIR --device cpu --blocks 2 --hidden 256 --mlp 512 --heads 4 \\
      --key-value-heads 2 --vocabulary 1000 --samples 8 --sequence-length 128          # in small, anywhere

The weights are random: sizes and code are real, the results mean nothing and are not measured. Ours makes
GPTQ 4 and 8 and AWQ 4; GPTQModel makes GPTQ 4. Each side has a process of its own, and the time is from the
start of calibration to what is saved; ours reads the weights in it, GPTQModel before it. The peak is that
process's torch.cuda.max_memory_allocated(), on a CPU its resident memory. Writes WORK/gpu.json. The real
shape needs 50 GB of disk; no time is known, as no GPU was at hand.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.checkpoints import windows
from benchmarks.comparison import quantize_with_gptqmodel, run_child
from benchmarks.machine import versions
from benchmarks.memory_model import Shape, make_model, make_text
from quantize_lib.benchmark.machine import machine

CELLS: tuple[tuple[str, int], ...] = (("gptq", 4), ("gptq", 8), ("awq", 4))


def main() -> int:
    """Run both sides and print; or, with --child, one of them."""
    arguments = _arguments()
    work: Path = arguments.work
    if arguments.child:
        found = (_ours if arguments.child == "ours" else _peer)(arguments)
        (work / f"{arguments.child}.json").write_text(json.dumps(found), encoding="utf-8")
        return 0
    work.mkdir(parents=True, exist_ok=True)
    shape = Shape(
        hidden=arguments.hidden,
        mlp=arguments.mlp,
        heads=arguments.heads,
        key_value_heads=arguments.key_value_heads,
        blocks=arguments.blocks,
        vocabulary=arguments.vocabulary,
    )
    if not _model(arguments).exists():
        make_model(_model(arguments), shape)
    make_text(work / "calibration.txt", arguments.samples * arguments.sequence_length)
    result: dict[str, Any] = {
        "machine": machine(),
        "versions": versions(("torch", "transformers", "gptqmodel")),
        "shape": vars(shape),
        "calibration": [arguments.samples, arguments.sequence_length],
        "group_size": arguments.group_size,
    }
    for side in ("ours", "gptqmodel"):
        run_child("benchmarks.gpu", side)
        result[side] = json.loads((work / f"{side}.json").read_text(encoding="utf-8"))
    (work / "gpu.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--blocks", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=4096)
    parser.add_argument("--mlp", type=int, default=14336)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--key-value-heads", type=int, default=8)
    parser.add_argument("--vocabulary", type=int, default=128_256)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--sequence-length", type=int, default=2048)
    parser.add_argument("--group-size", type=int, default=128)
    parser.add_argument("--child", choices=("ours", "gptqmodel"), help=argparse.SUPPRESS)
    return parser.parse_args()


def _model(arguments: argparse.Namespace) -> Path:
    words = ("hidden", "mlp", "heads", "key_value_heads", "blocks", "vocabulary")
    work: Path = arguments.work
    return work / "-".join(["model", *(str(getattr(arguments, word)) for word in words)])


def _device(arguments: argparse.Namespace) -> str:
    import torch

    return torch.cuda.get_device_name() if arguments.device == "cuda" else "CPU"


def _ours(arguments: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.passes import Bench, clocked
    from quantize_lib.process_memory import peak_memory

    bench = Bench(
        _model(arguments),
        arguments.work / "calibration.txt",
        arguments.work,
        samples=arguments.samples,
        sequence_length=arguments.sequence_length,
        device=arguments.device,
    )
    found = bench.run(CELLS, group_size=arguments.group_size, clock=clocked(), ahead=False)
    return {
        "device": _device(arguments),
        "cells": [f"{method} {bits}" for method, bits in CELLS],
        "seconds": found["seconds"],
        "peak_bytes": peak_memory(arguments.device),
    }


def _peer(arguments: argparse.Namespace) -> dict[str, Any]:
    import torch
    from gptqmodel import GPTQModel, QuantizeConfig

    from quantize_lib.process_memory import peak_memory

    batch = windows(
        _model(arguments),
        arguments.work / "calibration.txt",
        samples=arguments.samples,
        sequence_length=arguments.sequence_length,
    )
    config = QuantizeConfig(bits=4, group_size=arguments.group_size)
    cuda = arguments.device == "cuda"
    # The model's own on a GPU; a CPU without bfloat16 units is faster in float32.
    dtype = torch.bfloat16 if cuda else torch.float32
    device = "cuda:0" if cuda else "cpu"
    model = GPTQModel.load(str(_model(arguments)), config, dtype=dtype, device=device)
    seconds = quantize_with_gptqmodel(model, batch.ids, arguments.work / "gptqmodel")
    return {
        "device": _device(arguments),
        "cells": ["gptq 4"],
        "seconds": round(seconds, 2),
        "peak_bytes": peak_memory(arguments.device),
        "dtype": str(dtype).removeprefix("torch."),
    }


if __name__ == "__main__":
    sys.exit(main())
