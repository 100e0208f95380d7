"""A manifest of many cells, and the tests' Hub as it is once they are all published."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from quantize_lib import __version__
from quantize_lib.manifest import load_manifest
from quantize_lib.plan import fingerprint
from quantize_lib.plan.cells import Cell, Job
from quantize_lib.plan.fingerprint import inputs
from tests.support.hub import Hub, Repository
from tests.support.model_files import write_model
from tests.support.small_runs import environment

WRITE = "hf_fleet_writes"
DATASET = "acme/news"
ROWS = "".join(json.dumps({"text": f"Sentence number {number}."}) + "\n" for number in range(400))

UNCHANGED = {"plan": ("--changed-only", "--format", "github"), "run": ("--output", "out")}
"""What a command that finds everything unchanged is called with, behind the manifest."""


def base_model(folder: Path) -> dict[str, bytes]:
    """The files of a tiny base model."""
    write_model(folder)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {**files, "README.md": b"---\nlicense: apache-2.0\n---\n"}


def fleet(
    hub: Hub, folder: Path, *, models: int, cells: int, publish: Mapping[str, Any] | None = None
) -> Path:
    """A manifest of `models` Hub models with `cells` cells each, none of them published.

    The entries are all bitsandbytes but for one awq in each model, which uses the calibration data set.
    """
    hub.add_token(WRITE, "acme")
    hub.add_dataset(DATASET, {"train.jsonl": ROWS.encode()})
    files = base_model(folder / "base")
    entries: list[dict[str, Any]] = []
    for number in range(models):
        hub.add_model(f"meta/base-{number}", {**files, "number.txt": str(number).encode()})
        entries.append(
            {
                "id": f"meta/base-{number}",
                "quantize": [
                    {"method": "awq", "bits": 4},
                    *(
                        {
                            "method": "bitsandbytes",
                            "bits": 8,
                            "name": f"base-{number}-kept-{kept}",
                            "modules_to_not_convert": [f"*.{kept}.*"],
                        }
                        for kept in range(cells - 1)
                    ),
                ],
            }
        )
    document = {
        "version": 1,
        "defaults": {"calibration": {"dataset": DATASET, "samples": 2, "sequence_length": 8}},
        "models": entries,
        "publish": {"to": "hub", "namespace": "acme", **(publish or {})},
    }
    path = folder / "quantize.yml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def publish_all(hub: Hub, manifest: Path, *, version: str = __version__) -> None:
    """Put every cell's repository on the Hub, as it would be if it had been built from what is there now."""
    for job, cell in load_manifest(manifest).cells():
        hold(hub, job, cell, version=version)


def hold(hub: Hub, job: Job, cell: Cell, *, version: str = __version__) -> Repository:
    """Put one cell's repository on the Hub."""
    revisions = {
        "model_revision": hub.repositories[f"models/{job.model.id}"].head,
        "calibration_revision": hub.repositories[f"datasets/{DATASET}"].head,
    }
    state = {
        "fingerprint": fingerprint(cell, job, **revisions),
        "version": version,
        **inputs(cell, job, **revisions),
    }
    card = yaml.safe_dump({"base_model": job.model.id, "model_quantizer": state})
    return hub.add_model(
        cell.repository,
        {
            "README.md": f"---\n{card}---\n# {cell.id}\n".encode(),
            "config.json": b"{}",
            "quantization_report.json": b"{}",
            "model.safetensors": b"weights of " + cell.id.encode(),
        },
        private=True,
    )


def words(hub: Hub, folder: Path) -> dict[str, Any]:
    """Arguments of `command` for a process that meets this Hub."""
    env = environment(**hub.environment(folder / "home"), HF_TOKEN_WRITE=WRITE, HF_TOKEN_READ=WRITE)
    return {"cwd": folder, "env": env}


def asked(hub: Hub) -> Counter[str]:
    """How often each repository was asked for, by its path in the interface."""
    return Counter(request.path for request in hub.requests)
