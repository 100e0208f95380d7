"""What the tool sees of a job's tokens, step by step, whatever the caller's environment holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.action_inputs import DEFAULTS, FORK, PUSH
from tests.support.action_runner import ROOT
from tools.action.inputs import Inputs, read_inputs

JOB = {
    "HF_TOKEN": "of-the-caller",
    "HUGGING_FACE_HUB_TOKEN": "of-the-caller",
    "HF_OIDC_ID_TOKEN": "of-the-caller",
    "HF_TOKEN_READ": "for-reading",
    "HF_TOKEN_WRITE": "for-writing",
    "HF_TOKEN_STATE": "for-state",
    "ACTIONS_ID_TOKEN_REQUEST_URL": "https://identity.example",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "for-an-identity",
}
"""More than any step gets: a job may set variables for all its steps."""


def seen(folder: Path, step: str, inputs: Inputs) -> dict[str, str]:
    """Run a step with a tool that notes its environment; what it saw of the variables above."""
    tool = folder / f"model-quantizer-{inputs.profile}" / "bin" / "model-quantizer"
    tool.parent.mkdir(parents=True)
    tool.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"json.dump(dict(os.environ), open({str(folder / 'seen.json')!r}, 'w'))\n"
        f"json.dump(sys.argv, open({str(folder / 'words.json')!r}, 'w'))\n"
    )
    tool.chmod(0o755)
    inputs.save(folder)
    environment = {**os.environ, **JOB, "WORK": str(folder), "RUNNER_TEMP": str(folder)}
    environment["GITHUB_OUTPUT"] = str(folder / "outputs")
    subprocess.run(
        [sys.executable, "-Es", str(ROOT / "tools" / "action" / "main.py"), step],
        env=environment,
        cwd=folder,
        capture_output=True,
        timeout=60,
        check=False,
    )
    told = json.loads((folder / "seen.json").read_text(encoding="utf-8"))
    return {name: told[name] for name in (*JOB, "HF_TOKEN_PATH") if name in told}


def test_planning_sees_what_reads_and_nothing_that_writes(tmp_path: Path) -> None:
    inputs = read_inputs({**DEFAULTS, "INPUT_COMMAND": "plan"}, PUSH)
    assert seen(tmp_path, "plan", inputs) == {"HF_TOKEN_READ": "for-reading"}


def test_publishing_sees_what_writes_alone(tmp_path: Path) -> None:
    assert seen(tmp_path, "publish", read_inputs(DEFAULTS, PUSH)) == {
        "HF_TOKEN_WRITE": "for-writing",
        "ACTIONS_ID_TOKEN_REQUEST_URL": "https://identity.example",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "for-an-identity",
    }


@pytest.mark.parametrize(("event", "kept"), [(PUSH, True), (FORK, False)])
def test_quantizing_keeps_state_and_a_forks_pull_request_does_not(
    tmp_path: Path, event: dict[str, Any], kept: bool
) -> None:
    (tmp_path / "todo.json").write_text('{"cells": [], "devices": ["cpu"]}', encoding="utf-8")
    inputs = read_inputs({**DEFAULTS, "INPUT_EXECUTOR": "local"}, event)
    assert ("HF_TOKEN_STATE" in seen(tmp_path, "run", inputs)) == kept
    assert ("--no-state" not in json.loads((tmp_path / "words.json").read_text())) == kept


def test_a_forks_pull_request_does_not_see_the_login_of_the_runner_either(tmp_path: Path) -> None:
    inputs = read_inputs({**DEFAULTS, "INPUT_COMMAND": "plan"}, FORK)
    assert seen(tmp_path, "plan", inputs)["HF_TOKEN_PATH"] == os.devnull


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ({}, False),
        ({"INPUT_HF_TOKEN_WRITE": "hf_w"}, True),
        ({"ACTIONS_ID_TOKEN_REQUEST_URL": "https://identity.example"}, True),
    ],
)
def test_a_token_or_an_identity_makes_publishing_a_step_of_its_own(
    given: dict[str, str], steps: bool
) -> None:
    assert read_inputs({**DEFAULTS, **given}, PUSH).two_steps == steps
    assert not read_inputs({**DEFAULTS, **given}, FORK).two_steps


def test_a_token_is_masked_as_it_is_used_without_the_white_space_around_it(tmp_path: Path) -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    script = next(step["run"] for step in action["runs"]["steps"] if step["name"] == "Mask the tokens")
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script],
        env={"READ_TOKEN": " \n", "WRITE_TOKEN": "\thf_abc%\r\n", "STATE_TOKEN": "hf_state"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "::add-mask::hf_abc%25\n::add-mask::hf_state\n"
