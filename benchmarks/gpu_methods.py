"""Every method in every format on CUDA, beside the same on the CPU: the whole command, checks included.

    python -m benchmarks.gpu_methods                    # a GPU: a few minutes
    python -m benchmarks.gpu_methods --device cpu       # the CPU against itself, to try the script

A small Llama with random weights, and each cell that methods and formats allow, at every effort. On both
devices every checkpoint has to be reloaded and to reproduce its figures, and the figures of the two have to
agree: otherwise the exit code is 1. `benchmarks.gpu` measures time and memory of a large shape.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import versions
from benchmarks.memory_model import Shape, make_model, make_text
from quantize_lib.benchmark.machine import machine
from quantize_lib.formats import formats_for
from quantize_lib.methods import METHODS, Settings, get_method
from quantize_lib.methods.common import EFFORT

SHAPE = Shape(hidden=256, mlp=512, heads=4, blocks=4, vocabulary=1000)
LENGTH = 128
FIGURE = "kl_divergence"
AGREEMENT = 0.1
"""How far the divergences of the two devices may be apart, as a part of the CPU's: sums have another order
there, and what is rounded depends on what was rounded before."""


def entries() -> Iterator[dict[str, Any]]:
    """A manifest's entry for every method, width, format and effort."""
    for method in METHODS.values():
        efforts = EFFORT.words["enum"] if EFFORT in method.settings else [None]
        for chosen in formats_for(method):
            for bits in (width for width in method.bits if width in chosen.bits):
                settings = Settings(method=method.name, bits=bits, format=chosen.name)
                width = method.width_of(bits)
                if chosen.misfit(SHAPE.hidden, SHAPE.mlp, settings.bits) is not None:
                    continue
                for effort in efforts:
                    words = [method.name, str(width), chosen.name, *([effort] if effort else [])]
                    entry = {"method": method.name, method.width_key: width, "format": chosen.name}
                    yield {**entry, "name": "-".join(words), **({"effort": effort} if effort else {})}


def run(work: Path, device: str) -> dict[str, dict[str, Any]]:
    """Quantize and check everything on one device; the report's cells by id."""
    text = {"files": [str(work / "text.txt")], "sequence_length": LENGTH}
    manifest = {
        "version": 1,
        "defaults": {"calibration": {**text, "samples": 64}},
        "models": [{"id": str(work / "model"), "name": "model", "quantize": list(entries())}],
        "evaluate": {"perplexity": {**text, "samples": 8}},
    }
    # JSON is YAML.
    (work / "quantize.yml").write_text(json.dumps(manifest), encoding="utf-8")
    words = ["run", str(work / "quantize.yml"), "--no-publish", "--device", device]
    output = work / device
    done = subprocess.run(
        [sys.executable, "-m", "quantize_lib", *words, "--output", str(output)], cwd=work, check=False
    )
    print(f"{device}: exit code {done.returncode}", file=sys.stderr)
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    return {cell["id"]: cell for cell in report["cells"]}


def fault(there: dict[str, Any], here: dict[str, Any]) -> str | None:
    """What is wrong with a cell; None where nothing is.

    Args:
        there: on the device.
        here: on the CPU.
    """
    for place, cell in (("device", there), ("CPU", here)):
        if cell["error"] is not None:
            return f"{place}: {cell['error']}"
        if not cell["reload"]["reproduced"]:
            return f"{place}: the reload does not reproduce its figures"
    one, other = there[FIGURE], here[FIGURE]
    if abs(one - other) > AGREEMENT * other:
        return f"{FIGURE} {one:.4g}, on the CPU {other:.4g}"
    return None


def main() -> int:
    """Run both, compare, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        make_model(work / "model", SHAPE)
        make_text(work / "text.txt", 80 * LENGTH)
        there = run(work, arguments.device)
        here = there if arguments.device == "cpu" else run(work, "cpu")
    faults = {name: fault(cell, here[name]) for name, cell in there.items()}
    for name, cell in there.items():
        experimental = " (experimental)" if cell["bits"] in get_method(cell["method"]).experimental else ""
        figures = f"{cell[FIGURE]}, on the CPU {here[name][FIGURE]}, {cell['seconds']} s"
        print(f"{name}{experimental}: {faults[name] or 'agrees'}: {figures}")
    if arguments.json is not None:
        result = {"machine": machine(), "versions": versions(("torch", "transformers")), "cells": there}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 1 if any(faults.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
