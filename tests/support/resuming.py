"""What the tests of resuming share: a tiny model of several blocks, runs to kill, what has to be equal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from quantize_lib.files import read_json, sha256_file
from tests.support.small_runs import ROOT, environment, report

BLOCKS = 8
CARD, PICTURE, RECORD = "README.md", "quality.png", "quantization_report.json"
_TIMES = ("seconds", "peak_memory_bytes", "load_seconds")


def deepen(model: Path) -> Path:
    """Give a tiny Llama `BLOCKS` blocks with random weights."""
    torch.manual_seed(1)
    config = LlamaConfig.from_pretrained(model, num_hidden_layers=BLOCKS)
    made = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() == 2:
                parameter.normal_(0.0, parameter.shape[-1] ** -0.5)
    made.to(torch.bfloat16).save_pretrained(model)
    return model


@contextmanager
def running(
    *words: str | Path, cwd: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """The command at work; what it says goes to `said.txt`. It is over in any case afterwards."""
    with (cwd / "said.txt").open("w", encoding="utf-8") as said:
        run = subprocess.Popen(
            [sys.executable, str(ROOT / "entrypoint.py"), *map(str, words)],
            cwd=cwd,
            env=environment() if env is None else dict(env),
            stdout=subprocess.DEVNULL,
            stderr=said,
            text=True,
            start_new_session=True,
        )
        try:
            yield run
        finally:
            run.kill()
            run.wait()


def said(folder: Path) -> str:
    """What the last command there said."""
    return (folder / "said.txt").read_text(encoding="utf-8")


def wait_until(ready: Callable[[], bool], run: subprocess.Popen[str]) -> bool:
    """Wait for a moment of a run; False where the run ended before it came."""
    deadline = time.monotonic() + 120
    while not ready():
        if run.poll() is not None:
            return False
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return True


def job_folder(output: Path) -> Path:
    """The state of the one job."""
    return output / ".state" / "jobs" / "tiny-auto"


def committed(output: Path) -> int:
    """Blocks of the first pass that are safe; 0 where there is none."""
    try:
        return int(read_json(job_folder(output) / ".passes" / "1" / "progress.json")["blocks"])
    except FileNotFoundError:
        return 0


def kill_all(run: subprocess.Popen[str]) -> None:
    """`kill -9` of the command alone; those that it started have to follow by themselves."""
    children = descendants(run.pid)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    deadline = time.monotonic() + 20
    while any(is_running(pid) for pid in children):
        assert time.monotonic() < deadline, "a child outlived the run"
        time.sleep(0.01)


def descendants(pid: int) -> list[int]:
    """Processes whose parent, at any distance, is that one."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(one): int(parent) for one, parent in (line.split() for line in listed.splitlines())}
    found = [pid]
    for one in found:
        found.extend(child for child, parent in parents.items() if parent == one)
    return found[1:]


def is_running(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def contents(output: Path) -> dict[str, str]:
    """sha256 of every file of every checkpoint but card, with its picture, and record: those hold times."""
    return {
        str(path.relative_to(output)): sha256_file(path)
        for cell in report(output)
        for path in sorted((output / cell).rglob("*"))
        if path.is_file() and path.name not in (CARD, PICTURE, RECORD)
    }


def figures(output: Path) -> dict[str, Any]:
    """What the report says of every cell, without times and memory, and the hashes of files with times."""
    plain: dict[str, Any] = json.loads(
        json.dumps(report(output)), object_hook=lambda d: {k: v for k, v in d.items() if k not in _TIMES}
    )
    for cell in plain.values():
        cell["files"] = {
            name: digest for name, digest in cell["files"].items() if name not in (CARD, PICTURE, RECORD)
        }
        # A cell that was finished before the kill is unchanged for the next run.
        cell["status"] = {"skipped": "built"}.get(cell["status"], cell["status"])
        cell.pop("commit")
    return plain
