"""Processes that load models are forked from one with the libraries, and are as fresh as new ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from quantize_lib.files import read_json

ROOT = Path(__file__).resolve().parents[2]
PARENT = """
import json, sys, subprocess, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from quantize_lib.evaluate import template

work = Path(sys.argv[1])

def ask(do, timeout=60.0, **more):
    folder = work / do
    folder.mkdir()
    question, answer = folder / "question.json", folder / "answer.json"
    question.write_text(json.dumps({"do": do, **more}))
    began = time.monotonic()
    try:
        code = template.start_module(
            "tests.support.forked", question, answer, log=folder / "log", timeout=timeout
        )
    except subprocess.TimeoutExpired:
        code = "timeout"
    return {"code": code, "seconds": time.monotonic() - began}

with template.template():
    import torch
    torch.ones(600, 600) @ torch.ones(600, 600)
    told = {do: ask(do) for do in ("well", "fail", "crash")}
    told["code"] = ask("code", code=7)
    with ThreadPoolExecutor(2) as pool:
        told |= dict(zip(("one", "two"), pool.map(ask, ("one", "two"))))
    (work / "told.json").write_text(json.dumps(told))
    told["wait"] = ask("wait", timeout=float(sys.argv[2]))
    (work / "told.json").write_text(json.dumps(told))
"""


def begin(work: Path, seconds: float) -> subprocess.Popen[bytes]:
    work.mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, str(work), str(seconds)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_for(path: Path) -> dict[str, int]:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return dict(read_json(path))


def test_forked_processes_answer_fail_and_end_as_new_ones_do(tmp_path: Path) -> None:
    parent = begin(tmp_path / "work", 0.5)
    assert parent.wait(timeout=240) == 0
    told = json.loads((tmp_path / "work" / "told.json").read_text())
    codes = {name: one["code"] for name, one in told.items()}
    assert codes == {
        **{"well": 0, "fail": 1, "crash": -signal.SIGKILL, "code": 7},
        **{"one": 0, "two": 0, "wait": "timeout"},
    }
    answers = {
        name: read_json(tmp_path / "work" / name / "answer.json") for name in ("well", "code", "one", "two")
    }
    assert len({answer["process"] for answer in answers.values()} | {parent.pid}) == 5
    assert {answer["total"] for answer in answers.values()} == {600.0**3}
    assert answers["one"]["folder"] == str(tmp_path / "work" / "one")
    logs = {name: (tmp_path / "work" / name / "log").read_text() for name in ("well", "fail")}
    assert logs["well"] == "printed by well\n"
    assert logs["fail"].endswith("RuntimeError: on purpose\n")
    assert not alive(read_json(tmp_path / "work" / "wait" / "answer.json")["process"])


def test_where_the_parent_is_killed_nothing_goes_on(tmp_path: Path) -> None:
    parent = begin(tmp_path / "work", 600)
    process = wait_for(tmp_path / "work" / "wait" / "answer.json")["process"]
    assert alive(process)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while alive(process):
        assert time.monotonic() < deadline
        time.sleep(0.05)
