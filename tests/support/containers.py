"""What the Docker tests share: runs with the Docker executor, and pieces of Python in its worker's place."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import yaml

from quantize_lib.executors.docker.daemon import OWNER_LABEL
from tests.support.model_files import write_model
from tests.support.small_runs import ROOT, environment

if TYPE_CHECKING:
    from docker import DockerClient

CELL = {"method": "bitsandbytes", "bits": 8}
CELL_ID = "one-bnb-8bit"

CANARY = "hf_canaryThatMustNotBeInAnyLayer"
"""Planted around the image's build: in its context and in its environment."""

RESULT = """
import json, os, pathlib, sys, time
if "--answer" in sys.argv:
    question = json.load(open("/job/question.json"))
    answer = {"error": None, "notes": [], "texts": [None] * len(question["texts"])}
    pathlib.Path("/output/answer.json").write_text(json.dumps(answer))
    sys.exit()
job = json.load(open("/job/job.json"))
out = pathlib.Path("/output")
cell = job["cells"][0]["id"]
result = {"version": 1, "job": job["id"], "device": "cpu", "versions": {"torch": "none"},
          "peak_memory_bytes": 1,
          "cells": {cell: {"seconds": 1.0, "size_after": 8, "format": "bitsandbytes"}}}
def say(**event): print(json.dumps(event), flush=True)
def checkpoint(name=None):
    folder = out / (name or cell)
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(8))
def save(text=None): (out / "result.json").write_text(text or json.dumps(result))
"""
"""Before a stub's own code: what is said of a tokenizer, the job, and what a worker leaves."""

GOOD = RESULT + "checkpoint(); save()"
"""A worker to whom nothing happens."""


def docker_manifest(folder: Path, *names: str) -> Path:
    """`folder/quantize.yml` with a headers-and-zeros model of each name, one cell each."""
    models = [
        {"id": str(write_model(folder / "models" / name)), "name": name, "quantize": [CELL]} for name in names
    ]
    path = folder / "quantize.yml"
    path.write_text(yaml.safe_dump({"version": 1, "models": models}), encoding="utf-8")
    return path


def without_torch(folder: Path) -> dict[str, str]:
    """An environment as the light install has it: without the heavy libraries, whose import is an error."""
    blocked = folder / "blocked"
    blocked.mkdir(exist_ok=True)
    (blocked / "sitecustomize.py").write_text(
        "import sys\nsys.modules.update(dict.fromkeys(('torch', 'transformers', 'tokenizers')))\n"
    )
    return environment(PYTHONPATH=str(blocked))


def start(
    folder: Path, *words: str | Path, output: str = "out", env: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """`run quantize.yml --executor docker …`, running."""
    command = [sys.executable, "-u", str(ROOT / "entrypoint.py"), "run", "quantize.yml"]
    command += ["--executor", "docker", "--output", output, *map(str, words)]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=env or without_torch(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(run: subprocess.Popen[str], *, timeout: float = 300) -> tuple[int, str]:
    """Wait for a run: its exit code and what it said; never a traceback."""
    out, err = run.communicate(timeout=timeout)
    assert "Traceback" not in out + err, err
    return run.returncode, err


def run(folder: Path, *words: str | Path, **options: Any) -> tuple[int, str]:
    """`start` and `finish`."""
    return finish(start(folder, *words, **options))


def containers(engine: DockerClient, folder: Path) -> list[str]:
    """Names of the containers of ours that are still there and work in that folder."""
    found: Sequence[dict[str, Any]] = engine.api.containers(all=True, filters={"label": OWNER_LABEL})
    return [
        str(entry["Names"][0])
        for entry in found
        if any(str(folder) in mount.get("Source", "") for mount in entry["Mounts"])
    ]


def events(said: str, start: str) -> Any:
    """The JSON behind a word in what was said."""
    line = next(line for line in said.splitlines() if line.startswith(start))
    return json.loads(line.removeprefix(start))


def wait_for(stream: IO[str] | None, words: str) -> None:
    """Read a run's lines until those words come."""
    deadline = time.monotonic() + 120
    assert stream is not None
    for line in iter(stream.readline, ""):
        if words in line:
            return
        assert time.monotonic() < deadline
    raise AssertionError(f"{words!r} never came")
