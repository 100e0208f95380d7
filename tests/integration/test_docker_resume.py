"""A killed run goes on from what its container had written; what a failed one wrote is forgotten."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.containers import CELL_ID, GOOD, RESULT, docker_manifest, finish, run, start, wait_for
from tests.support.small_runs import report

pytestmark = pytest.mark.docker

FIRST = """
state = out / ".passes"
if not state.exists():
    state.mkdir()
    (state / "progress.json").write_text("mine")
    os.chmod(state, 0o700)
"""


def test_a_container_goes_on_from_what_a_killed_run_s_had_written(
    stub: Callable[[str], str], tmp_path: Path
) -> None:
    docker_manifest(tmp_path, "one")
    image = stub(
        RESULT
        + FIRST
        + "    say(event='info', message='here'); time.sleep(600)\n"
        + "say(event='info', message='went on: ' + (state / 'progress.json').read_text())\n"
        + "checkpoint(); save()"
    )
    process = start(tmp_path, "--image", image)
    wait_for(process.stderr, "here")
    process.kill()
    process.communicate()
    code, said = run(tmp_path, "--image", image)
    assert code == 0, said
    assert "went on: mine" in said
    assert report(tmp_path / "out")[CELL_ID]["status"] == "published"
    assert [path.name for path in (tmp_path / "out" / ".state").iterdir()] == ["lock"]


def test_what_a_failed_container_wrote_is_forgotten(stub: Callable[[str], str], tmp_path: Path) -> None:
    docker_manifest(tmp_path, "one")
    code, said = run(tmp_path, "--image", stub(RESULT + FIRST + "sys.exit(1)"))
    assert code == 3, said
    assert [path.name for path in (tmp_path / "out" / ".state").iterdir()] == ["lock"]
    again = finish(start(tmp_path, "--image", stub(GOOD)))
    assert again[0] == 0, again[1]


LATE = """
folder = out / cell
if not folder.exists():
    checkpoint()
    result["cells"][cell]["failure"] = {"error": "it does not load", "code": "evaluation"}
    result["unfinished"] = True
else:
    (folder / "added.json").write_text("{}")
    (folder / "added.json").unlink()
    say(event="info", message="checked again: " + " ".join(sorted(path.name for path in folder.iterdir())))
save()
"""


def test_a_checkpoint_that_failed_its_check_is_given_back_to_the_next_container(
    stub: Callable[[str], str], tmp_path: Path
) -> None:
    docker_manifest(tmp_path, "one")
    image = stub(RESULT + LATE)
    code, said = run(tmp_path, "--image", image)
    assert code == 3, said
    cell = report(tmp_path / "out")[CELL_ID]
    assert (cell["status"], cell["error"], cell["path"]) == ("failed", "it does not load", CELL_ID)
    assert (tmp_path / "out" / CELL_ID / "model.safetensors").is_file()
    code, said = run(tmp_path, "--image", image)
    assert code == 0, said
    assert "checked again: config.json model.safetensors" in said
    assert report(tmp_path / "out")[CELL_ID]["status"] == "published"
    assert [path.name for path in (tmp_path / "out" / ".state").iterdir()] == ["lock"]


COMMITTED = """
state = out / ".passes" / "1"
progress = {"blocks": 3, "hidden": {"file": "hidden-00003.safetensors", "size": 5},
            "cells": {cell: {"shards": {"closed": [], "current": None, "total_bytes": 0}}}}
if not state.exists():
    (state / cell).mkdir(parents=True)
    os.chmod(out / ".passes", 0o700)
    (state / "hidden-00003.safetensors").write_bytes(b"three")
    (state / "progress.json").write_text(json.dumps(progress))
    time.sleep(600)
say(event="info", message="went on after " + str(json.loads((state / "progress.json").read_text())["blocks"]))
(state / "hidden-00003.safetensors").rename(state / "hidden-00004.safetensors")
checkpoint(); save()
"""


def test_a_container_on_another_machine_goes_on_from_what_a_state_store_has(
    stub: Callable[[str], str], tmp_path: Path
) -> None:
    with docker_manifest(tmp_path, "one").open("a", encoding="utf-8") as file:
        file.write("state: {in: directory, path: kept}\n")
    image = stub(RESULT + COMMITTED)
    process = start(tmp_path, "--image", image)
    wait_for(process.stderr, "its state is kept in")
    process.kill()
    process.communicate()
    shutil.rmtree(tmp_path / "out")
    code, said = run(tmp_path, "--image", image)
    assert code == 0, said
    assert "went on after 3" in said
    assert list((tmp_path / "kept").iterdir()) == []
