"""The manifest's test command runs on finished checkpoints; exit code and figures are judged and shown."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.command.question import CommandAnswer, CommandQuestion
from quantize_lib.command.run import run_command
from quantize_lib.command.spec import CommandSpec
from quantize_lib.errors import CheckpointError
from quantize_lib.executors.local_command import run_command_here
from tests.support.in_process import reload_at_once, run_here
from tests.support.model_files import write_model
from tests.support.small_runs import FASTEST, command, manifest, report, save_tiny_model

CHECK = """
import json, os, sys
import helper
folder, figures = sys.argv[1:]
assert folder == os.environ["MODEL_QUANTIZER_CHECKPOINT"]
assert figures == os.environ["MODEL_QUANTIZER_FIGURES"]
assert sorted(os.listdir()) == ["__pycache__", "check.py", "helper.py", "wanted.json"]
assert not any("secret" in value for value in os.environ.values())
open(os.path.join(folder, "left.txt"), "w").write("beside the checkpoint's files")
bits = json.load(open(os.path.join(folder, "config.json")))["quantization_config"]["load_in_8bit"]
json.dump({"loads_in_8bit": int(bits), "answer": helper.ANSWER}, open(figures, "w"))
print("the checkpoint is in", folder)
sys.exit(json.load(open("wanted.json")))
"""


def test_a_test_command_is_run_judged_carded_and_not_repeated_once_it_passed(
    tmp_path: Path, calibration_text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_tiny_model(tmp_path / "tiny", calibration_text)
    (tmp_path / "tests").mkdir()
    files = {"check.py": CHECK, "helper.py": "ANSWER = 0.5\n", "wanted.json": "7"}
    for name, text in files.items():
        (tmp_path / "tests" / name).write_text(text)
    reload_at_once(monkeypatch)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    output = tmp_path / "output"

    def run(**limits: Any) -> tuple[int, str, dict[str, Any]]:
        test = {
            "command": ["python", "check.py", "{checkpoint}", "{figures}"],
            "files": [f"tests/{name}" for name in files],
            **({"limits": limits} if limits else {}),
        }
        plan = manifest(tmp_path, model, calibration_text, FASTEST, evaluate={"test_command": test})
        said = io.StringIO()
        code, _ = run_here(plan, output, PlainReporter(said))
        (cell,) = report(output).values()
        return code, said.getvalue(), cell

    code, said, cell = run()
    assert (code, cell["status"]) == (4, "gated"), said
    assert cell["error"].startswith("the test command ended with exit code 7 (the checkpoint is in ")
    assert (cell["test_command"]["exit_code"], cell["limits"]) == (7, {"test_command": 0})
    folder = output / cell["id"]
    assert "the checkpoint is in" in (output / f"{cell['id']}.test.log").read_text()
    assert not (folder / "left.txt").exists()
    weights = (folder / "model.safetensors").read_bytes()

    # Another file is another test, for which nothing is quantized again.
    (tmp_path / "tests" / "wanted.json").write_text("0")
    code, said, cell = run(answer={"min": 0.5, "max": 0.5})
    assert (code, cell["status"]) == (0, "skipped"), said
    assert "Quantizing" not in said
    assert cell["test_command"]["figures"] == {"loads_in_8bit": 1, "answer": 0.5}
    assert [verdict["text"] for verdict in cell["verdicts"]] == [
        "the test command ended with exit code 0",
        "test command: answer is 0.5, at least 0.5 is allowed",
        "test command: answer is 0.5, at most 0.5 is allowed",
    ]
    card = ModelCard.load(folder / "README.md")
    assert "| <code>answer</code> | 0.5 |" in card.text
    assert "test command: answer" in (output / "report.html").read_text()

    # Other limits are another judgement of the same figures.
    began = (output / f"{cell['id']}.test.log").stat().st_mtime_ns
    code, said, cell = run(answer={"max": 0.4}, speed={"min": 1})
    assert (code, cell["status"]) == (4, "gated"), said
    assert cell["error"] == (
        "test command: answer is 0.5, more than the allowed 0.4; "
        "the test command gave no figure speed, and its min is set"
    )
    assert (output / f"{cell['id']}.test.log").stat().st_mtime_ns == began
    assert (folder / "model.safetensors").read_bytes() == weights
    assert sorted(path.name for path in (output / ".state").iterdir()) == ["lock"]


def test_a_program_that_is_not_there_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    model = write_model(tmp_path / "one")
    text = tmp_path / "text.txt"
    text.write_text("text")
    test = {"command": ["no-such-program"]}
    manifest(tmp_path, model, text, FASTEST, evaluate={"test_command": test})
    done = command("run", "quantize.yml", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "evaluate.test_command: it cannot be started: there is no program no-such-program" in done.stderr


CHILD = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open("pids", "w").write(f"{os.getpid()} {child.pid}")
"""
"""A command that starts a process, and says who they are."""
WAITS = CHILD + "time.sleep(600)"


def run(folder: Path, code: str, *, timeout: float = 60, checkpoint: Path | None = None) -> CommandAnswer:
    """The answer of a command in Python whose output is in `folder/log`."""
    question = CommandQuestion(
        words=(sys.executable, "-c", code),
        checkpoint=checkpoint or folder,
        folder=folder,
        figures=folder / "figures.json",
        timeout=timeout,
    )
    with (folder / "log").open("wb") as output:
        return run_command(question, output)


def are_gone(folder: Path) -> bool:
    """Whether the processes of `CHILD` have ended."""
    for pid in (folder / "pids").read_text().split():
        stat = Path("/proc", pid, "stat")
        deadline = time.monotonic() + 10
        while stat.exists() and ") Z " not in stat.read_text():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
    return True


def test_what_a_command_started_ends_with_it(tmp_path: Path) -> None:
    answer = run(tmp_path, CHILD)
    assert (answer.exit_code, answer.problem) == (0, None)
    assert are_gone(tmp_path)


def test_a_command_that_takes_too_long_is_ended_with_what_it_started(tmp_path: Path) -> None:
    answer = run(tmp_path, WAITS, timeout=2)
    assert (answer.exit_code, answer.problem) == (None, "took longer than 2 s")
    assert are_gone(tmp_path)


def test_ctrl_c_ends_a_command_with_what_it_started(tmp_path: Path) -> None:
    # Who starts the tests in the background may have the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt() -> None:
        while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, WAITS)
    signal.signal(signal.SIGINT, before)
    assert are_gone(tmp_path)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import os; os.kill(os.getpid(), 9)", "was ended by signal 9"),
        ("open('figures.json', 'w').write('{\"a\": NaN}')", "has NaN, which is no number in JSON"),
        ("open('figures.json', 'w').write('[]')", "wrote no figures that can be read: the file is no object"),
        ("import os; os.mkfifo('figures.json')", "the file is no file"),
        ("while True: print('x' * 2**20)", "printed more than 67.1 MB"),
    ],
)
def test_how_a_command_ended_is_told_in_a_sentence(code: str, problem: str, tmp_path: Path) -> None:
    assert problem in str(run(tmp_path, code).problem)


def test_half_a_file_of_figures_is_passed_over_where_the_exit_code_says_it_all(tmp_path: Path) -> None:
    answer = run(tmp_path, "open('figures.json', 'w').write('{'); raise SystemExit(3)")
    assert (answer.exit_code, answer.problem, answer.figures) == (3, None, {})


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("no-such-program", "cannot be started: there is no program no-such-program"),
        ("./check.sh", "cannot be started: ./check.sh may not be executed"),
        ("check.sh", "cannot be started: there is no program check.sh; a file of `files` is ./check.sh"),
        ("./odd", "cannot be started: ./odd: Exec format error"),
    ],
)
def test_a_program_that_cannot_be_started_is_told(program: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "check.sh").write_text("#!/bin/sh\n")
    (tmp_path / "odd").write_text("what")
    (tmp_path / "odd").chmod(0o755)
    question = CommandQuestion(
        words=(program,), checkpoint=tmp_path, folder=tmp_path, figures=tmp_path / "f", timeout=5
    )
    with (tmp_path / "log").open("wb") as output:
        assert run_command(question, output).problem == problem


def test_a_command_that_changes_the_checkpoint_is_an_error(tmp_path: Path) -> None:
    checkpoint, work = tmp_path / "m-gptq-4bit", tmp_path / "work"
    checkpoint.mkdir()
    work.mkdir()
    (checkpoint / "config.json").write_text("{}")
    spec = CommandSpec(words=("sh", "-c", "echo >> {checkpoint}/config.json"), timeout=60)
    reporter, log = PlainReporter(io.StringIO()), tmp_path / "log"
    with pytest.raises(CheckpointError, match=r"changed the checkpoint \(config\.json\)"):
        run_command_here(spec, checkpoint, device="cpu", work=work, log=log, reporter=reporter)
