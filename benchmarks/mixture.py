"""Peak resident memory and time of quantizing a mixture of experts, beside the estimate of `plan`.

    python -m benchmarks.mixture                  # a 30B-A3B shape's first 2 blocks: 4 GB of disk
    python -m benchmarks.mixture --blocks 3 --small

The weights are random and made block by block; calibration is 128 × 512 tokens, with held-out text beside it.
Exit code 1 where the peak is above 9 GiB or the estimate more than 15 % off.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.memory import measure
from benchmarks.memory_model import Shape

THIRTY_B = Shape(
    hidden=2048,
    mlp=768,
    heads=32,
    key_value_heads=4,
    head_dim=128,
    blocks=2,
    vocabulary=151_936,
    experts=128,
    chosen=8,
)
SMALL = replace(
    THIRTY_B, hidden=512, mlp=256, heads=8, key_value_heads=2, vocabulary=1000, experts=32, chosen=4
)
LIMIT = 9 * 2**30
_TOLERANCE = 0.15


def main() -> int:
    """Measure and print a line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", type=int, default=2, help="how many to make; default: 2")
    parser.add_argument("--small", action="store_true", help="a shape that takes a minute")
    parser.add_argument("--samples", type=int, default=128, help="of calibration; default: 128")
    parser.add_argument("--held-out", type=int, default=4, help="sequences of held-out text; default: 4")
    parser.add_argument("--method", default="gptq", help="default: gptq")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="where the model is made; default: a new folder"
    )
    words = parser.parse_args()
    shape = replace(SMALL if words.small else THIRTY_B, blocks=words.blocks)
    with tempfile.TemporaryDirectory(prefix="mixture-", dir=words.work or Path.cwd()) as temporary:
        started = time.monotonic()
        run = measure(
            Path(temporary), shape, [(words.method, 4)], samples=words.samples, evaluation=words.held_out
        )
        seconds = time.monotonic() - started
    print(
        f"{shape.experts} experts of {shape.hidden} × {shape.mlp}, {shape.blocks} blocks, {words.method} 4: "
        f"{run.peak / 2**30:.2f} GiB, the plan says {run.estimate / 2**30:.2f} GiB ({run.ratio:.2f}), "
        f"{seconds:.0f} s with the model's making"
    )
    if words.json:
        found = {"peak_bytes": run.peak, "estimate_bytes": run.estimate, "seconds": seconds}
        words.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return int(run.peak > LIMIT or abs(run.ratio - 1) > _TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
