"""Our own time, split, beside the least that the arithmetic takes on this machine.

    python -m benchmarks.speed --model DIR --calibration FILE --work DIR [--blocks N] [--peer compare.json]

Measures the best rate of matrix products of the model's own shapes, in float32 and as the pass multiplies
(docs/explanation/benchmarks.md); counts the products that calibration cannot do without (every linear layer's
forward, causal attention, one triangle of XᵀX); and runs passes from the start of calibration to the saved
shards: a GPTQ 4-bit cell alone, the same with each kind of a second one, six cells, these again with
calibration and rounding in turn; and with effort `fast` the first once more, and in float32 throughout.
Nothing is evaluated. With the result of compare_gptqmodel.py as the peer it prints shares of the peer's time.
Writes WORK/speed.json. About 12 minutes on 2 cores; run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.checkpoints import first_blocks
from benchmarks.comparison import parser
from benchmarks.machine import versions
from benchmarks.passes import Bench, Cell, clocked, in_float32
from quantize_lib.engine.precision import calibration_arithmetic
from quantize_lib.methods.common import FAST

PASSES: dict[str, tuple[Cell, ...]] = {
    "one cell": (("gptq", 4),),
    "with GPTQ 2": (("gptq", 4), ("gptq", 2)),
    "with GPTQ 3": (("gptq", 4), ("gptq", 3)),
    "with GPTQ 8": (("gptq", 4), ("gptq", 8)),
    "with AWQ 4": (("gptq", 4), ("awq", 4)),
    "with bitsandbytes 4": (("gptq", 4), ("bitsandbytes", 4)),
    "with bitsandbytes 8": (("gptq", 4), ("bitsandbytes", 8)),
    "six cells": (
        ("gptq", 4),
        ("gptq", 3),
        ("gptq", 8),
        ("awq", 4),
        ("bitsandbytes", 4),
        ("bitsandbytes", 8),
    ),
}


def main() -> int:
    """Measure and print."""
    arguments = _arguments()
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    model: Path = arguments.model
    if arguments.blocks:
        model = first_blocks(model, arguments.blocks, work / "model")
    bench = Bench(
        model,
        arguments.calibration,
        work,
        samples=arguments.samples,
        sequence_length=arguments.sequence_length,
    )
    clock = clocked()
    arithmetic = calibration_arithmetic(torch.device("cpu"))
    rates = {"float32": bench.rate(torch.float32)}
    if arithmetic != "float32":
        rates[arithmetic] = bench.rate(torch.bfloat16)
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions(("torch", "transformers")),
        "blocks": len(bench.model),
        "tokens": [arguments.samples, arguments.sequence_length],
        "threads": torch.get_num_threads(),
        "arithmetic": arithmetic,
        "gflops": {name: round(rate / 1e9) for name, rate in rates.items()},
        "limit_seconds": {name: round(bench.operations() / rate, 2) for name, rate in rates.items()},
        "passes": {},
    }

    def run(name: str, arithmetic: str, *, ahead: bool = True, effort: str | None = None) -> None:
        found = bench.run(
            PASSES[name], group_size=arguments.group_size, clock=clock, ahead=ahead, effort=effort
        )
        words = [name, *([f"effort {effort}"] if effort else []), arithmetic, *([] if ahead else ["in turn"])]
        result["passes"][", ".join(words)] = found

    for name in PASSES:
        run(name, arithmetic)
    run("six cells", arithmetic, ahead=False)
    run("one cell", arithmetic, effort=FAST)
    if arithmetic != "float32":
        with in_float32():
            run("one cell", "float32", effort=FAST)
    if arguments.peer:
        rows = json.loads(arguments.peer.read_text(encoding="utf-8"))["rows"]
        result["peer"] = {name: row["seconds"] for name, row in rows.items() if "seconds" in row}
    (work / "speed.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    _print(result)
    return 0


def _arguments() -> argparse.Namespace:
    options = parser(__doc__, samples=64)
    options.add_argument("--blocks", type=int, help="only the first so many blocks, for tuning")
    options.add_argument("--peer", type=Path, help="compare.json of the whole model")
    return options.parse_args()


def _print(result: dict[str, Any]) -> None:
    for name, seconds in result["limit_seconds"].items():
        print(f"arithmetic limit, {name}: {seconds} s at {result['gflops'][name]} GFLOP/s")
    for name, found in result["passes"].items():
        print(f"\n{name}: {found['seconds']} s, {found['seconds'] / result['blocks']:.3f} s a block")
        for phase, seconds in found["phases"].items():
            print(f"  {phase:<32}{seconds:>9.2f} s{seconds / result['blocks'] * 1000:>9.0f} ms a block")
        for cell, seconds in found["cells"].items():
            print(f"  {cell:<32}{seconds:>9.2f} s in all")
        limits = {of: found["seconds"] / seconds for of, seconds in result["limit_seconds"].items()}
        print("  " + ", ".join(f"{ratio:.2f} × the {of} limit" for of, ratio in limits.items()))
        for peer, seconds in result.get("peer", {}).items():
            shares = {
                name: own / seconds for name, own in (("whole", found["seconds"]), *found["cells"].items())
            }
            print(
                f"  of {peer}, {seconds} s: " + ", ".join(f"{n} {share:.1%}" for n, share in shares.items())
            )


if __name__ == "__main__":
    sys.exit(main())
