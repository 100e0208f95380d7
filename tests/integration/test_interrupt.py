"""A run that is interrupted leaves a report and nothing half done; the same command completes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.resuming import descendants, is_running
from tests.support.small_runs import FASTEST, ROOT, command, environment, manifest, report, save_tiny_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, calibration_text: Path) -> Path:
    """A tiny model. Read only."""
    return save_tiny_model(tmp_path_factory.mktemp("interrupt") / "tiny", calibration_text)


def start(*words: str | Path, cwd: Path) -> subprocess.Popen[str]:
    """The command, running; what it says comes through a pipe."""
    return subprocess.Popen(
        [sys.executable, "-u", str(ROOT / "entrypoint.py"), *map(str, words)],
        cwd=cwd,
        env=environment(GITHUB_STEP_SUMMARY=str(cwd / "summary.md")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell starts what runs in the background deaf to it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(run: subprocess.Popen[str], words: str) -> list[str]:
    """Read what the command says until those words come."""
    assert run.stderr is not None
    said: list[str] = []
    guard = threading.Timer(120, run.kill)
    guard.start()
    try:
        for line in run.stderr:
            said.append(line)
            if words in line:
                return said
    finally:
        guard.cancel()
    raise AssertionError(f"{words!r} never came: {''.join(said)}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupted_run_says_so_and_the_next_one_completes_it(
    number: signal.Signals, tiny: Path, calibration_text: Path, tmp_path: Path
) -> None:
    path = manifest(tmp_path, tiny, calibration_text, FASTEST)
    words = ("run", path, "--output", tmp_path / "out")
    with start(*words, cwd=tmp_path) as run:
        said = wait_for(run, "Quantizing: 2/2 blocks")
        children = descendants(run.pid)
        os.kill(run.pid, number)
        out, err = run.communicate(timeout=60)
    said.append(err)
    assert run.returncode == 130
    assert "Traceback" not in "".join(said)
    assert "error: interrupted; " in err
    assert children
    assert not [pid for pid in children if is_running(pid)]
    cells = report(tmp_path / "out")
    assert {(cell["status"], cell["error"], cell["code"]) for cell in cells.values()} == {
        ("failed", "interrupted", "interrupted")
    }
    assert "tiny-bnb-8bit" in out
    assert "tiny-bnb-8bit" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    left = sorted(entry.name for entry in (tmp_path / "out").iterdir())
    assert left == [".state", "log.txt", "report.html", "report.json"]
    state = tmp_path / "out" / ".state"
    assert sorted(entry.name for entry in state.iterdir()) == ["jobs", "lock"]
    assert not (tmp_path / "published").exists()

    if number == signal.SIGTERM:
        done = command(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert report(tmp_path / "out")["tiny-bnb-8bit"]["status"] == "published"
        assert [entry.name for entry in state.iterdir()] == ["lock"]


def test_a_second_run_on_one_output_folder_is_refused(
    tiny: Path, calibration_text: Path, tmp_path: Path
) -> None:
    path = manifest(tmp_path, tiny, calibration_text, FASTEST)
    words = ("run", path, "--output", tmp_path / "out")
    with start(*words, cwd=tmp_path) as run:
        wait_for(run, "tiny-auto")
        second = command(*words, cwd=tmp_path)
        os.kill(run.pid, signal.SIGTERM)
        run.communicate(timeout=60)
    assert second.returncode == 2
    assert second.stderr == (
        f"error: --output: another run works in {tmp_path / 'out'}\n"
        "  Wait for it, or choose another folder with --output.\n"
    )
    assert run.returncode == 130


def test_the_form_for_one_model_goes_on_where_it_was_interrupted(tiny: Path, tmp_path: Path) -> None:
    words = (tiny, "--method", "bitsandbytes", "--bits", "8", "--output-dir", "made")
    with start(*words, cwd=tmp_path) as run:
        wait_for(run, "Quantizing: 2/2 blocks")
        os.kill(run.pid, signal.SIGTERM)
        run.communicate(timeout=60)
    assert run.returncode == 130
    hidden = {".made.log", ".made.run"}
    assert {entry.name for entry in tmp_path.iterdir()} == {*hidden, "summary.md"}

    done = command(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # The pass was over; perhaps its cell was finished too.
    assert "continuing after block 2 of 2" in done.stderr or "Quantizing" not in done.stderr
    assert {entry.name for entry in tmp_path.iterdir()} == {"made", "summary.md"}
