"""Peak resident memory of the quantizing process, beside the estimate of `plan`, on random weights.

    python -m benchmarks.memory            # depth, 1B and 7B shapes: 10 minutes on 2 cores, 6 GB of disk
    python -m benchmarks.memory --depth    # the first of them alone: about 1 minute

Exit code 1 where the peak grows with the number of blocks, an estimate is more than 15 % off, a 7B shape
takes 7 GiB, or a limit given with --max-memory is exceeded. A 7B model is measured by its first two blocks
with their real sizes, with embedding and head: the depth makes no difference, as the first part shows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from benchmarks.machine import ROOT
from benchmarks.memory_model import Shape, make_model, make_text
from benchmarks.targets import memory_targets
from quantize_lib.methods.common import BEST, EFFORT

DEPTH = Shape(hidden=1024, mlp=2816, heads=8, blocks=4, vocabulary=1000)
ONE_B = Shape(hidden=2048, mlp=5632, heads=16, blocks=2)
SEVEN_B = Shape(hidden=4096, mlp=11008, heads=32, blocks=2)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run.

    Attributes:
        peak: bytes, as the report says; the most that the quantizing process took.
        estimate: bytes, as the plan says.
    """

    peak: int
    estimate: int

    @property
    def ratio(self) -> float:
        """Estimate by measurement."""
        return self.estimate / self.peak


def measure(
    work: Path,
    shape: Shape,
    cells: Sequence[tuple[str, int]],
    *,
    samples: int,
    sequence_length: int = 512,
    evaluation: int = 0,
    max_memory: int | None = None,
    effort: str | None = None,
) -> Measured:
    """Plan and run a model of random weights with the command line.

    Args:
        work: a folder for it; a model that is there already is taken.
        cells: methods and bits.
        samples: of calibration text.
        evaluation: sequences of held-out text; 0 measures nothing.
        max_memory: for `--max-memory`.
        effort: of all cells; None for each method's default.

    Raises:
        subprocess.CalledProcessError: where a command fails.
    """
    model, output = work / "model", Path(tempfile.mkdtemp(prefix="output-", dir=work))
    if not model.exists():
        make_model(model, shape)

    def text(name: str, count: int) -> dict[str, object]:
        file = make_text(work / name, count * sequence_length)
        return {"files": [str(file)], "samples": count, "sequence_length": sequence_length}

    own = {} if effort is None else {EFFORT.name: effort}
    document: dict[str, object] = {
        "version": 1,
        "defaults": {"calibration": text("calibration.txt", samples)},
        "models": [
            {
                "id": str(model),
                "name": "shape",
                "quantize": [{"method": method, "bits": bits, **own} for method, bits in cells],
            }
        ],
    }
    if evaluation:
        document["evaluate"] = {"perplexity": text("held-out.txt", evaluation)}
    path = work / "quantize.yml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    plan = json.loads(_command("plan", path, "--format", "json"))
    bound = [] if max_memory is None else ["--max-memory", str(max_memory)]
    _command("run", path, "--device", "cpu", "--output", output, "--no-publish", *bound)
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    return Measured(
        peak=report["cells"][0]["peak_memory_bytes"],
        estimate=plan["jobs"][0]["estimate"]["peak_memory_bytes"],
    )


def _command(*words: str | Path, **environment: str) -> str:
    command = [sys.executable, str(ROOT / "entrypoint.py"), *map(str, words)]
    environment = {**os.environ, **environment}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


def depth_growth(work: Path, shape: Shape, *, blocks: tuple[int, int] = (4, 32)) -> int:
    """How much more memory the deeper of two models takes, in bytes, everything else alike.

    The C library is told to give back at once what is freed (mallopt(3), M_MMAP_THRESHOLD): what it keeps for
    later moves the peak of a block by a tenth from one to the next, and would hide what it is about.
    """
    shallow, deep = (
        _live_peak(_folder(work, f"{count}-blocks"), replace(shape, blocks=count)) for count in blocks
    )
    return deep - shallow


def _live_peak(work: Path, shape: Shape) -> int:
    """Peak memory of a job with one GPTQ cell, by `job`, whose process has our environment."""
    model, tokens = make_model(work / "model", shape), 512
    text = make_text(work / "calibration.txt", 4 * tokens).read_text(encoding="utf-8")
    (work / "texts.json").write_text(json.dumps([text]), encoding="utf-8")
    (work / "output").mkdir()
    job = {
        "version": 1,
        "id": "shape-cpu",
        "model": {"path": str(model), "name": "shape", "revision": "sha256:0"},
        "device": "cpu",
        "calibration": {
            "texts": "texts.json",
            "source": "random letters",
            "revision": "sha256:0",
            "samples": 4,
            "sequence_length": tokens,
        },
        "cells": [{"id": "shape-gptq-4bit", "settings": {"method": "gptq", "bits": 4}}],
        "output": "output",
    }
    (work / "job.json").write_text(json.dumps(job), encoding="utf-8")
    _command("job", work / "job.json", MALLOC_MMAP_THRESHOLD_=str(2**20))
    result = json.loads((work / "output" / "result.json").read_text(encoding="utf-8"))
    return int(result["peak_memory_bytes"])


def _folder(work: Path, name: str) -> Path:
    folder = work / name
    folder.mkdir(exist_ok=True)
    return folder


def main() -> int:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depth", action="store_true", help="only whether memory grows with depth")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="memory-", dir=Path.cwd()) as temporary:
        work = Path(temporary)
        growth, block = depth_growth(work, DEPTH), DEPTH.block_values * 4
        print(f"4 to 32 blocks: {growth / 1e6:+.1f} MB; one block in float32 is {block / 1e6:.1f} MB")
        found: dict[str, Any] = {"growth_bytes": growth, "block_bytes": block}
        if not arguments.depth:
            found |= _shapes(work)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return int(not all(met for _, _, figures in memory_targets(found) for _, met in figures))


def _shapes(work: Path) -> dict[str, Any]:
    five = [("gptq", 4), ("gptq", 8), ("awq", 4), ("bitsandbytes", 4), ("bitsandbytes", 8)]
    one, seven = _folder(work, "1b"), _folder(work, "7b")
    runs = {
        "1B shape, GPTQ 4, 16 × 512 tokens": measure(one, ONE_B, [("gptq", 4)], samples=16),
        "1B shape, five cells, 16 × 512, 8 × 512 held out": measure(
            one, ONE_B, five, samples=16, evaluation=8
        ),
        # Of a larger shape it takes minutes a block.
        "0.3B shape, GPTQ 3, effort best, 16 × 512": measure(
            _folder(work, "0.3b"), replace(DEPTH, blocks=2), [("gptq", 3)], samples=16, effort=BEST
        ),
        "7B shape, GPTQ 4, 32 × 512": measure(seven, SEVEN_B, [("gptq", 4)], samples=32),
    }
    print(f"\n{'':50} {'measured':>10} {'plan':>10} {'ratio':>6}")
    for name, run in runs.items():
        print(f"{name:50} {run.peak / 1e9:7.2f} GB {run.estimate / 1e9:7.2f} GB {run.ratio:6.2f}")
    # Less than the five cells need with their activations, more than without.
    limit = runs["1B shape, five cells, 16 × 512, 8 × 512 held out"].estimate - 150_000_000
    bounded = measure(one, ONE_B, five, samples=16, evaluation=8, max_memory=limit)
    print(f"the five cells with --max-memory {limit / 1e9:.2f} GB: {bounded.peak / 1e9:.2f} GB")
    return {
        "runs": {
            name: {"peak_bytes": run.peak, "estimate_bytes": run.estimate} for name, run in runs.items()
        },
        "bounded": {"limit_bytes": limit, "peak_bytes": bounded.peak},
    }


if __name__ == "__main__":
    sys.exit(main())
