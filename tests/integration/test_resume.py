"""A run that is killed at any moment: the same command goes on, and ends as if nothing had happened."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.resuming import (
    BLOCKS,
    committed,
    contents,
    deepen,
    descendants,
    figures,
    is_running,
    job_folder,
    kill_all,
    running,
    said,
    wait_until,
)
from tests.support.small_runs import command, evaluation, manifest, report, save_tiny_model

# AWQ is in tests/integration/test_pass_store.py; here every checkpoint is reloaded, which takes seconds.
CELLS: list[dict[str, Any]] = [
    {"method": "gptq", "bits": 4},
    {"method": "bitsandbytes", "bits": 4},
]


@dataclass(frozen=True)
class Whole:
    """A run that nobody interrupted. Read only."""

    model: Path
    text: Path
    contents: dict[str, str]
    figures: dict[str, Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, calibration_text: Path) -> Whole:
    """Two cells of a model of eight blocks."""
    folder = tmp_path_factory.mktemp("whole")
    model = deepen(save_tiny_model(folder / "tiny", calibration_text))
    words = ("run", plan(folder, model, calibration_text), "--output", folder / "out", "--no-publish")
    done = command(*words, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert [entry.name for entry in (folder / "out" / ".state").iterdir()] == ["lock"]
    return Whole(
        model=model,
        text=calibration_text,
        contents=contents(folder / "out"),
        figures=figures(folder / "out"),
    )


def plan(folder: Path, model: Path, text: Path, cells: list[dict[str, Any]] | None = None) -> Path:
    return manifest(folder, model, text, cells or CELLS, evaluate=evaluation(text))


def moments(output: Path, chance: random.Random) -> list[Callable[[], bool]]:
    """When to kill, in the order in which a run comes there; each run takes the next one."""
    job = job_folder(output)
    first = job / ".passes" / "1"

    def parts() -> int:
        return sum(file.stat().st_size for file in first.glob("*/part-*.safetensors"))

    def grown_by(size: int) -> Callable[[], bool]:
        before: list[int] = []

        def ready() -> bool:
            try:
                now = parts()
            except FileNotFoundError:
                return True
            before.append(now)
            return now - before[0] >= size

        return ready

    # Far enough from the last one that a kill comes before the pass is over.
    at = sorted(chance.sample(range(1, BLOCKS - 1), 3))
    return [
        # Reading: the model is known, no block is done.
        lambda: (job / "job.json").exists(),
        lambda: committed(output) >= at[0],
        # Writing: in the middle of a block.
        grown_by(chance.randrange(1, 20_000)),
        lambda: committed(output) >= at[1],
        lambda: any(first.glob(".progress.json.*")) or committed(output) >= at[2],
        # After the last block: the tensors outside, the measuring, the files' final names.
        lambda: committed(output) == BLOCKS or (job / ".passes" / "finished.json").exists(),
        lambda: any(first.glob("*/config.json")) or (job / ".passes" / "finished.json").exists(),
        # The reload of the first checkpoint, and of a later one.
        lambda: (job / ".reload").exists(),
        lambda: '"reload"' in _text(job / ".passes" / "finished.json"),
        # The host's part.
        lambda: (job / "made.json").exists(),
    ]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def test_killed_at_ten_moments_it_ends_as_if_nothing_had_happened(whole: Whole, tmp_path: Path) -> None:
    output = tmp_path / "out"
    words = ("run", plan(tmp_path, whole.model, whole.text), "--output", output, "--no-publish")
    chance = random.Random(20261125)
    killed = 0
    for ready in moments(output, chance):
        before = committed(output)
        with running(*words, cwd=tmp_path) as run:
            if not wait_until(ready, run):
                break
            kill_all(run)
        killed += 1
        _went_on(said(tmp_path), before)
        assert committed(output) >= before or (job_folder(output) / ".passes" / "finished.json").exists()
    assert killed >= 8
    before = committed(output)
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    _went_on(done.stderr, before)
    assert contents(output) == whole.contents
    assert figures(output) == whole.figures
    assert [entry.name for entry in (output / ".state").iterdir()] == ["lock"]
    assert sorted(entry.name for entry in output.iterdir()) == sorted(
        [*whole.figures, ".state", "log.txt", "report.html", "report.json"]
    )


def _went_on(words: str, before: int) -> None:
    """Where a run says where it continues, that is right after the last block that was safe."""
    continued = re.findall(r"continuing after block (\d+) of 8", words)
    assert continued in ([], [str(before)])
    if "Quantizing: " in words and before:
        assert continued


def test_an_interrupted_run_goes_on(whole: Whole, tmp_path: Path) -> None:
    output = tmp_path / "out"
    words = ("run", plan(tmp_path, whole.model, whole.text, CELLS[1:]), "--output", output, "--no-publish")
    with running(*words, cwd=tmp_path) as run:
        assert wait_until(lambda: committed(output) >= 1, run)
        os.kill(run.pid, signal.SIGTERM)
        assert run.wait(timeout=60) == 130
    safe = committed(output)
    assert safe >= 1
    done = command(*words, cwd=tmp_path)
    assert f"continuing after block {safe} of {BLOCKS}" in done.stderr
    # What a cell becomes does not depend on those that share its pass.
    assert contents(output).items() <= whole.contents.items()
    alone, shared = figures(output)["tiny-bnb-4bit"], dict(whole.figures["tiny-bnb-4bit"])
    assert shared.pop("calibration")
    assert not alone.pop("calibration")
    assert alone == shared


def test_a_killed_child_costs_one_block_and_a_changed_cell_starts_afresh_alone(
    whole: Whole, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    path = plan(tmp_path, whole.model, whole.text)
    words = ("run", path, "--output", output, "--no-publish")
    with running(*words, cwd=tmp_path) as run:
        assert wait_until(lambda: committed(output) >= 4, run)
        child, *others = descendants(run.pid)
        os.kill(child, signal.SIGKILL)
        assert run.wait(timeout=60) == 3
    deadline = time.monotonic() + 20
    while any(map(is_running, others)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "the quantizing process was ended by SIGKILL" in said(tmp_path)
    safe = committed(output)
    assert safe >= 4
    plan(tmp_path, whole.model, whole.text, [CELLS[0], {**CELLS[1], "double_quant": False}])
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"continuing after block (\d+) of 8", done.stderr) == [str(safe)]
    assert done.stderr.count("Quantizing: 8/8 blocks") == 2
    made = contents(output)
    assert made.keys() == whole.contents.keys()
    same = {name for name in made if made[name] == whole.contents[name]}
    assert {name.partition("/")[0] for name in made.keys() - same} == {"tiny-bnb-4bit"}
    assert figures(output)["tiny-gptq-4bit"] == whole.figures["tiny-gptq-4bit"]
    assert report(output)["tiny-bnb-4bit"]["settings"]["double_quant"] is False


def test_another_base_model_starts_afresh(whole: Whole, tmp_path: Path) -> None:
    output = tmp_path / "out"
    model = tmp_path / "tiny"
    shutil.copytree(whole.model, model)
    words = ("run", plan(tmp_path, model, whole.text), "--output", output, "--no-publish")
    with running(*words, cwd=tmp_path) as run:
        assert wait_until(lambda: committed(output) >= 3, run)
        kill_all(run)
    (model / "generation_config.json").write_text('{"bos_token_id": 1}\n', encoding="utf-8")
    with running(*words, cwd=tmp_path) as run:
        # What is there belongs to the other model until the first block is done again.
        assert wait_until(lambda: committed(output) == 1, run)
        kill_all(run)
    assert "continuing after" not in said(tmp_path)
