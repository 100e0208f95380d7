"""What it costs to be sure: a run with its checks beside the same run without, in turns.

    python -m benchmarks.checks --model DIR --calibration FILE --held-out FILE ... --work DIR

Both make the demo's six cells from the same calibration text. The one measures them on held-out text and
reloads each checkpoint, as every run with an `evaluate` does; of the other, which has none, what its reloads
took is taken off. Writes WORK/checks.json and prints a table. A quarter of an hour on 2 cores for the demo's
model; run it on a machine that does nothing else.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.checkpoints import quantize
from benchmarks.comparison import parser
from benchmarks.machine import versions
from quantize_lib.benchmark.machine import machine

CELLS: list[dict[str, Any]] = [
    {"method": "gptq", "bits": [4, 8]},
    {"method": "awq", "bits": 4},
    {"method": "bitsandbytes", "bits": [4, 8]},
    {"method": "gptq", "bits": 4, "format": "compressed-tensors", "name": "w4a16"},
]
TARGET = 1.6
"""The checked run takes at most so many times what the other takes."""
_RELOADING = "Reloading"
_STAGE = re.compile(r"(\w[\w ]*): .* in (?:(\d+) h )?(?:(\d+) min )?(?:([\d.]+) s)?$")


def main() -> int:
    """Measure and print."""
    made = parser(__doc__, samples=64)
    made.add_argument("--held-out", type=Path, nargs="+", required=True)
    made.add_argument("--evaluate-samples", type=int, default=10)
    made.add_argument("--rounds", type=int, default=1)
    arguments = made.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    text = {
        "files": [str(path.resolve()) for path in arguments.held_out],
        "samples": arguments.evaluate_samples,
        "sequence_length": arguments.sequence_length,
    }
    kinds = {"checked": {"perplexity": text}, "unchecked": None}
    rounds = [
        {name: _run(arguments, evaluate) for name, evaluate in kinds.items()} for _ in range(arguments.rounds)
    ]
    result = {
        "machine": machine(),
        "versions": versions(("torch", "transformers", "gptqmodel")),
        "target": TARGET,
        "ratios": [_ratio(one) for one in rounds],
        "rounds": rounds,
    }
    (arguments.work / "checks.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for one in rounds:
        for name, run in one.items():
            stages = ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in run["stages"].items())
            print(f"{name:<10}{run['seconds']:>7.1f} s ({stages})")
        print(f"{_ratio(one):.2f} times as long with the checks; the target is {TARGET}")
    return 0


def _run(arguments: Any, evaluate: dict[str, Any] | None) -> dict[str, Any]:
    """Seconds of a run, and of its stages by their names."""
    stages: dict[str, float] = {}

    def see(line: str) -> None:
        print(line, flush=True)
        if found := _STAGE.match(line):
            hours, minutes, seconds = (float(part or 0) for part in found.groups()[1:])
            stages[found[1]] = hours * 3600 + minutes * 60 + seconds

    started = time.perf_counter()
    quantize(
        arguments.work,
        arguments.model,
        CELLS,
        calibration=arguments.calibration,
        samples=arguments.samples,
        sequence_length=arguments.sequence_length,
        evaluate=evaluate,
        say=see,
    )
    return {"seconds": round(time.perf_counter() - started, 1), "stages": stages}


def _ratio(runs: dict[str, Any]) -> float:
    unchecked = runs["unchecked"]
    without = unchecked["seconds"] - unchecked["stages"][_RELOADING]
    return round(float(runs["checked"]["seconds"] / without), 2)


if __name__ == "__main__":
    sys.exit(main())
