"""How a benchmark holds us against GPTQModel: each side in a process of its own, by the same tokens."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, versions
from quantize_lib.benchmark.machine import machine
from quantize_lib.files import sha256_file

PEER_ENVIRONMENT = {"GPTQMODEL_CPU_WORKERS": "2", "PYTHONPATH": str(ROOT)}
"""Of a process that runs GPTQModel, beside the environment of this one."""


def parser(description: str | None, *, samples: int) -> argparse.ArgumentParser:
    """The options of every benchmark that calibrates a model on a text.

    Args:
        samples: the default.
    """
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--model", type=Path, required=True)
    made.add_argument("--calibration", type=Path, required=True)
    made.add_argument("--work", type=Path, required=True)
    made.add_argument("--group-size", type=int, default=64)
    made.add_argument("--samples", type=int, default=samples)
    made.add_argument("--sequence-length", type=int, default=512)
    return made


def comparison_parser(
    description: str | None, children: Sequence[str], *, samples: int, evaluate_samples: int
) -> argparse.ArgumentParser:
    """The options of a comparison.

    Args:
        children: what a process that the comparison starts may be told to be, beside `measure`.
        samples, evaluate_samples: the defaults.
    """
    made = parser(description, samples=samples)
    made.add_argument("--held-out", type=Path, nargs="+", required=True)
    made.add_argument("--evaluate-samples", type=int, default=evaluate_samples)
    made.add_argument("--child", choices=(*children, "measure"), help=argparse.SUPPRESS)
    made.add_argument("--checkpoint", type=Path, nargs="+", help=argparse.SUPPRESS)
    return made


def run_child(module: str, *words: str, python: Path | None = None) -> None:
    """This benchmark once more in a process of its own, as `--child` and what follows say.

    Args:
        python: of another environment that has what this one has; None for this one's.

    Raises:
        subprocess.CalledProcessError: where it fails.
    """
    command = [str(python or sys.executable), "-m", module, *sys.argv[1:], "--child", *words]
    subprocess.run(command, check=True, env={**os.environ, **PEER_ENVIRONMENT})


def peer_row(
    module: str, work: Path, child: str, report: dict[str, Any], *, python: Path | None = None
) -> dict[str, Any]:
    """GPTQModel's side, made by `--child CHILD`: what it wrote to WORK/CHILD.json.

    Args:
        report: of our side.
        python: see `run_child`.

    Raises:
        SystemExit: where it did not see our calibration tokens.
    """
    run_child(module, child, python=python)
    made: dict[str, Any] = json.loads((work / f"{child}.json").read_text(encoding="utf-8"))
    digest = made.pop("tokens_digest")
    if any(cell["calibration"]["tokens_digest"] != digest for cell in report["cells"]):
        raise SystemExit("the two sides did not see the same calibration tokens")
    return made


def measure_rows(
    module: str, work: Path, rows: dict[str, dict[str, Any]], folders: Sequence[Path]
) -> dict[str, Any]:
    """Add to each row what `--child measure` says of its checkpoint; all that it says.

    Args:
        folders: of the checkpoints, in the order of the rows.
    """
    run_child(module, "measure", "--checkpoint", *map(str, folders))
    measured: dict[str, Any] = json.loads((work / "measured.json").read_text(encoding="utf-8"))
    for row, figures in zip(rows.values(), measured["quantized"], strict=True):
        row.update(figures)
    return measured


def circumstances(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a comparison's result says of how it came about."""
    return {
        "machine": machine(),
        "versions": versions(("torch", "transformers", "gptqmodel")),
        "group_size": arguments.group_size,
        "calibration": [arguments.samples, arguments.sequence_length],
        "texts": {path.name: sha256_file(path) for path in arguments.held_out},
    }


def quantize_with_gptqmodel(model: Any, ids: Any, folder: Path, **options: Any) -> float:
    """Let a loaded GPTQModel quantize and save; seconds from the start of calibration to the checkpoint.

    Args:
        ids: token ids, int64 (samples, length).
        options: of its `quantize`.
    """
    samples = [{"input_ids": row.tolist(), "attention_mask": [1] * len(row)} for row in ids]
    start = time.perf_counter()
    model.quantize(samples, batch_size=1, **options)
    model.save(str(folder))
    return time.perf_counter() - start
