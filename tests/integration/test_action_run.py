"""action.yml's steps, executed: what a caller, an event or a model writes is data and never a command."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from quantize_lib.attestation import ATTESTATION_FILE, read_bundle, statement, subjects
from quantize_lib.files import sha256_file
from quantize_lib.report import RECORD_FILE, read_report
from tests.support.action_runner import HARMLESS_COMMANDS, ROOT, ActionResult, Runner, ready_environment
from tests.support.model_files import LLAMA, write_model
from tests.support.small_runs import FASTEST, evaluation, manifest, save_tiny_model

READ, WRITE = "hf_readCanary0001", "hf_writeCanary0002"
GOOD, BAD = "tiny-bnb-8bit", "bad-bnb-8bit"
HOSTILE = "./a ##[add-path]x %0A::set-env name=PATH::y `touch pwned` $(touch pwned) <b>|*_["
"""A folder with a model that is not supported, named by somebody who wants more than a model."""
PLAN, QUANTIZE, PUBLISH = "Plan, and compare with this runner", "Quantize and check", "Publish"


def poison(workspace: Path) -> None:
    """Modules that the tool imports, lying in the caller's folder."""
    for name in ("json", "torch", "yaml", "tools", "quantize_lib"):
        (workspace / f"{name}.py").write_text("raise SystemExit('imported from the workspace')\n")


def assert_harmless(runner: Runner, result: ActionResult) -> None:
    """Nothing that was written anywhere became a command, and no token left the environment."""
    assert {command.name for command in result.commands} <= HARMLESS_COMMANDS
    assert not list(runner.workspace.rglob("pwned"))
    told = [command.data for command in result.commands if command.name == "add-mask"]
    assert set(told) <= {READ, WRITE}
    unmasked = "\n".join(line for line in result.log.splitlines() if not line.startswith("::add-mask::"))
    for token in (READ, WRITE):
        assert token not in unmasked
        for folder in (runner.workspace, runner.artifacts, runner.caches, runner.temp):
            files = (path for path in folder.rglob("*") if path.is_file())
            assert not [path for path in files if token.encode() in path.read_bytes()]


def bad_model(workspace: Path) -> None:
    """A manifest with nothing but a hostile, unsupported model."""
    config = {**LLAMA, "model_type": "##[add-path]", "architectures": ["::x::"]}
    write_model(workspace / HOSTILE, config)
    words = {"version": 1, "models": [{"id": HOSTILE, "name": "bad", "quantize": FASTEST}]}
    (workspace / "quantize.yml").write_text(json.dumps(words), encoding="utf-8")


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, calibration_text: Path) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny", calibration_text)


@pytest.fixture(scope="module")
def mixed(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, calibration_text: Path, held_out_text: Path
) -> tuple[Runner, ActionResult]:
    """A run with a model that works and one that is not there, both tokens given."""
    runner = Runner(
        tmp_path_factory.mktemp("mixed"),
        "push",
        environment={"ACTIONS_ID_TOKEN_REQUEST_URL": "https://identity.example"},
    )
    ready_environment(runner, "cpu")
    poison(runner.workspace)
    bad_model(runner.workspace)
    hostile = json.loads((runner.workspace / "quantize.yml").read_text(encoding="utf-8"))["models"]
    path = manifest(
        runner.workspace,
        tiny_model,
        calibration_text,
        FASTEST,
        evaluate=evaluation(held_out_text),
        publish={"to": "directory", "path": "published"},
    )
    words = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**words, "models": [*hostile, *words["models"]]}), encoding="utf-8")
    result = runner.use(
        ROOT,
        {
            "executor": "local",
            "device": "cpu",
            "output": "out put",
            "artifacts": "true",
            "attest": "true",
            "hf-token-read": READ,
            "hf-token-write": WRITE,
        },
    )
    return runner, result


def test_every_step_ran_in_its_order(mixed: tuple[Runner, ActionResult]) -> None:
    _, result = mixed
    assert result.ran() == [
        "Mask the tokens",
        "Get Python, beside the caller's",
        "Check the inputs",
        "Restore pip's downloads",
        "Install the tool from its lock files",
        PLAN,
        "Restore the state of unfinished work",
        QUANTIZE,
        "Sign what is to be published",
        "Put the signature beside it",
        PUBLISH,
        "Keep the state of unfinished work",
        "Keep the checkpoints",
        "Set the outputs",
    ]
    assert len(result.steps) == 14


def test_what_is_signed_is_the_report_of_what_is_published_and_the_signature_is_beside_it(
    mixed: tuple[Runner, ActionResult],
) -> None:
    runner, result = mixed
    assert result.step("Sign what is to be published").ran
    published = runner.workspace / "published" / GOOD
    signed = subjects(statement(read_bundle((published / ATTESTATION_FILE).read_bytes())))
    assert signed == {sha256_file(published / RECORD_FILE)}
    assert (runner.artifacts / result.outputs["artifact"] / GOOD / ATTESTATION_FILE).is_file()


def test_a_failed_cell_fails_the_action_and_the_others_are_published(
    mixed: tuple[Runner, ActionResult],
) -> None:
    runner, result = mixed
    assert not result.succeeded
    assert [step.code for step in result.steps if step.code] == [3]
    assert result.step("Set the outputs").code == 3
    assert (runner.workspace / "published" / GOOD / "model.safetensors").is_file()


def test_the_outputs_say_what_the_report_says(mixed: tuple[Runner, ActionResult]) -> None:
    runner, result = mixed
    report = Path(result.outputs["report"])
    assert report == runner.workspace / "out put" / "report.json"
    records = {record.id: record for record in read_report(report.parent)}
    assert json.loads(result.outputs["published"]) == [
        {"id": GOOD, "repository": GOOD, "commit": records[GOOD].commit, "url": None}
    ]
    assert json.loads(result.outputs["counts"]) == {
        "published": 1,
        "built": 0,
        "skipped": 0,
        "failed": 1,
        "gated": 0,
    }
    assert result.outputs["failed"] == BAD
    assert result.outputs["matrix"] == ""


def test_checkpoints_are_kept_as_an_artifact_that_can_be_published_later(
    mixed: tuple[Runner, ActionResult],
) -> None:
    runner, result = mixed
    kept = runner.artifacts / result.outputs["artifact"]
    assert [path.name for path in kept.rglob("*.safetensors")] == ["model.safetensors"]
    assert (kept / "report.json").is_file()
    assert not (kept / ".state").exists()


def test_the_state_is_saved_though_the_run_failed(mixed: tuple[Runner, ActionResult]) -> None:
    runner, result = mixed
    (cache,) = runner.caches.iterdir()
    assert result.step("Keep the state of unfinished work").inputs["key"] == cache.name
    assert cache.name.endswith("-1234567890-1")
    assert cache.name.startswith(result.step("Restore the state of unfinished work").inputs["restore-keys"])


def test_tokens_are_masked_first_and_stand_only_where_they_are_needed(
    mixed: tuple[Runner, ActionResult],
) -> None:
    _, result = mixed
    assert [command.data for command in result.steps[0].commands] == [READ, WRITE]
    seen = {
        (step.name, name, value)
        for step in result.steps[1:]
        for name, value in step.inputs.items()
        if value in (READ, WRITE)
    }
    assert seen == {
        ("Check the inputs", "INPUT_HF_TOKEN_READ", READ),
        ("Check the inputs", "INPUT_HF_TOKEN_WRITE", WRITE),
        (PLAN, "HF_TOKEN_READ", READ),
        (QUANTIZE, "HF_TOKEN_READ", READ),
        (PUBLISH, "HF_TOKEN_WRITE", WRITE),
    }


def test_what_a_model_is_called_and_holds_stays_text(mixed: tuple[Runner, ActionResult]) -> None:
    runner, result = mixed
    assert_harmless(runner, result)
    assert "knows no model type" in result.summary
    assert "##[" not in result.summary
    assert "::x::" not in result.summary


def test_the_summary_is_written_once_with_what_became_of_each_cell(
    mixed: tuple[Runner, ActionResult],
) -> None:
    _, result = mixed
    assert result.summary.count("| cell |") == 1
    assert f"| {GOOD} **best** | published |" in result.summary
    assert f"| {BAD} | failed |" in result.summary


def test_only_what_has_changed_is_made_again(
    mixed: tuple[Runner, ActionResult], tmp_path_factory: pytest.TempPathFactory
) -> None:
    first, _ = mixed
    runner = Runner(tmp_path_factory.mktemp("again"), "push")
    shutil.copytree(first.workspace, runner.workspace, dirs_exist_ok=True)
    ready_environment(runner, "cpu")
    result = runner.use(
        ROOT,
        {"executor": "local", "device": "cpu", "changed-only": "true", "only": f"{GOOD},\n {GOOD}"},
    )
    assert result.succeeded, result.log
    assert json.loads(result.outputs["matrix"]) == {"include": []}
    assert QUANTIZE not in result.ran()
    assert result.outputs["report"] == ""
    assert [command.name for command in result.commands] == ["notice"]


def test_a_forks_pull_request_gets_no_token_and_publishes_nothing(tmp_path: Path) -> None:
    runner = Runner(tmp_path, "pull_request_fork")
    ready_environment(runner, "cpu")
    bad_model(runner.workspace)
    result = runner.use(
        ROOT,
        {"executor": "local", "publish": "true", "hf-token-read": READ, "hf-token-write": WRITE},
    )
    assert QUANTIZE in result.ran()
    assert PUBLISH not in result.ran()
    given = [step.inputs for step in result.steps if step.ran]
    assert {words["HF_TOKEN_READ"] for words in given if "HF_TOKEN_READ" in words} == {""}
    assert not [words for words in given if "HF_TOKEN_WRITE" in words]
    assert "pull request of a fork" in result.log
    assert result.outputs["failed"] == BAD
    assert_harmless(runner, result)


def test_a_caller_without_tokens_publishes_into_a_folder_in_one_step(tmp_path: Path) -> None:
    runner = Runner(tmp_path, "push")
    ready_environment(runner, "cpu")
    bad_model(runner.workspace)
    result = runner.use(ROOT, {"executor": "local", "cache": "false"})
    assert PUBLISH not in result.ran()
    assert not list(runner.caches.iterdir())
    assert not [step for step in result.steps if step.ran and step.uses and "cache" in step.uses]
    assert (result.succeeded, result.outputs["failed"]) == (False, BAD)


def test_the_hub_without_a_way_to_write_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    runner = Runner(tmp_path, "push")
    ready_environment(runner, "cpu")
    write_model(runner.workspace / "model")
    words = {"version": 1, "models": [{"id": "./model", "quantize": FASTEST}], "publish": {"to": "hub"}}
    (runner.workspace / "quantize.yml").write_text(json.dumps(words), encoding="utf-8")
    result = runner.use(ROOT, {"executor": "local", "hf-token-read": READ})
    assert result.step(PLAN).code == 2
    assert "publish.to: hub needs hf-token-write, or `id-token: write`" in result.log
    assert QUANTIZE not in result.ran()


def test_a_job_that_is_stopped_still_reports_and_saves_its_state(
    tmp_path: Path, tiny_model: Path, calibration_text: Path
) -> None:
    runner = Runner(tmp_path, "push")
    ready_environment(runner, "cpu")
    manifest(runner.workspace, tiny_model, calibration_text, FASTEST)
    moment = runner.workspace / "output" / ".state" / "jobs" / "tiny-cpu" / "job.json"
    inputs = {"executor": "local", "device": "cpu", "hf-token-write": WRITE}
    result = runner.use(ROOT, inputs, stop=(QUANTIZE, moment))
    assert result.step(QUANTIZE).code == 130
    assert result.ran()[-2:] == ["Keep the state of unfinished work", "Set the outputs"]
    assert list(runner.caches.iterdir())
    assert result.outputs["failed"] == GOOD
    assert f"**{GOOD}**: interrupted" in result.summary
    assert result.summary.count("| cell |") == 1


@pytest.mark.parametrize(
    ("image", "pulled"),
    [
        ("ghcr.io/acme/mq:1", ["pull --quiet ghcr.io/acme/mq:1"]),
        ("ghcr.io/acme/there:1", []),
        ("built-here:cpu", []),
    ],
)
def test_an_image_that_the_engine_lacks_is_pulled_first(
    tmp_path: Path, image: str, pulled: list[str]
) -> None:
    # There is no registry to pull from here: this docker only writes down what it is asked.
    words = tmp_path / "asked"
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {words}\ncase "$*" in *inspect*there*) ;; *inspect*) exit 1 ;; esac\n',
        encoding="utf-8",
    )
    program.chmod(0o755)
    environment = {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "DOCKER_HOST": f"unix://{tmp_path}/no-engine.sock",
    }
    runner = Runner(tmp_path, "push", environment=environment)
    ready_environment(runner, "core")
    write_model(runner.workspace / "model")
    manifest_words = {"version": 1, "models": [{"id": "./model", "quantize": FASTEST}]}
    (runner.workspace / "quantize.yml").write_text(json.dumps(manifest_words), encoding="utf-8")
    result = runner.use(ROOT, {"image": image, "cache": "false"})
    asked = words.read_text(encoding="utf-8").splitlines() if words.exists() else []
    assert [line for line in asked if line.startswith("pull")] == pulled
    assert result.step(QUANTIZE).code == 2
    assert "no Docker engine answers" in result.log


INJECTIONS = [
    "$(touch pwned)",
    "`touch pwned`",
    "x; touch pwned",
    "x\ntouch pwned",
    "x\n::set-env name=PATH::/tmp",
    "x%0A::add-path::/tmp",
    "##[add-path]/tmp",
    "${{ github.token }}",
    "--help",
    "<img src=x onerror=alert(1)>",
]


@pytest.mark.parametrize("value", INJECTIONS)
def test_a_value_that_is_not_allowed_stops_before_anything_is_installed(tmp_path: Path, value: str) -> None:
    runner = Runner(tmp_path, "push")
    names = (
        "command",
        "executor",
        "device",
        "image",
        "publish",
        "changed-only",
        "cache",
        "artifacts",
        "only",
    )
    result = runner.use(ROOT, {**dict.fromkeys(names, value), "hf-token-read": READ})
    assert result.step("Check the inputs").code == 2
    assert not result.succeeded
    assert result.ran()[-1] == "Check the inputs"
    (error,) = (command for command in result.commands if command.name == "error")
    named = {line.partition(":")[0] for line in error.data.split("%0A")}
    # These two read as ids of cells that no manifest has.
    assert named == set(names) - ({"only"} if value in ("--help", "x\ntouch pwned") else set())
    assert_harmless(runner, result)


@pytest.mark.parametrize("value", [*INJECTIONS, "../../etc/passwd", "/etc/passwd", "~/x", "a/*/b"])
def test_a_path_is_never_more_than_a_path(tmp_path: Path, value: str) -> None:
    runner = Runner(tmp_path, "push")
    ready_environment(runner, "core")
    result = runner.use(ROOT, {"command": "validate", "manifest": value, "cache": "false"})
    assert not result.succeeded
    assert_harmless(runner, result)
    assert [step.code for step in result.steps if step.code] == [2]


def test_inputs_that_are_written_and_empty_have_their_defaults_in_every_step(tmp_path: Path) -> None:
    runner = Runner(tmp_path, "push")
    ready_environment(runner, "core")
    words = {"version": 1, "models": [{"id": "acme/m", "quantize": FASTEST}]}
    (runner.workspace / "quantize.yml").write_text(json.dumps(words), encoding="utf-8")
    names = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))["inputs"]
    result = runner.use(ROOT, {**dict.fromkeys(names, ""), "command": "Validate"})
    assert result.succeeded
    assert result.step("Get Python, beside the caller's").inputs["python-version"] == "3.11"
    assert "quantize.yml is valid" in result.log
    (notice,) = (command for command in result.commands if command.name == "notice")
    assert notice.data.startswith("Inputs that are written and empty are at their default (manifest: ")


def test_a_token_with_white_space_is_refused_and_masked_all_the_same(tmp_path: Path) -> None:
    runner = Runner(tmp_path, "push")
    result = runner.use(ROOT, {"hf-token-write": "hf_a\n::set-env name=X::y%"})
    assert [command.name for command in result.commands] == ["add-mask", "error"]
    assert result.commands[0].data == "hf_a%0A::set-env name=X::y%25"
    assert result.commands[1].data.startswith("hf-token-write: holds white space")


def test_the_light_core_is_installed_from_locks_beside_the_callers_python(tmp_path: Path) -> None:
    callers = tmp_path / "callers"
    callers.mkdir()
    runner = Runner(
        tmp_path,
        "push",
        environment={
            "PIP_TARGET": str(callers),
            "PIP_USER": "1",
            "PIP_REQUIRE_VIRTUALENV": "1",
            "PYTHONPATH": str(callers),
            "VIRTUAL_ENV": str(callers),
        },
    )
    poison(runner.workspace)
    for module in ("json", "pip", "argparse"):
        (callers / f"{module}.py").write_text(
            "raise SystemExit('imported from the caller')\n", encoding="utf-8"
        )
    write_model(runner.workspace / "model")
    words = {
        "version": 1,
        "models": [{"id": "./model", "quantize": [{"method": "gptq", "bits": [4, 8]}, *FASTEST]}],
        "runners": {"cpu": ["self-hosted", "large ' $(x)"]},
    }
    (runner.workspace / "quantize.yml").write_text(json.dumps(words), encoding="utf-8")
    before = {path: path.stat().st_mtime_ns for path in Path(sys.prefix).rglob("*.dist-info")}
    result = runner.use(ROOT, {"command": "plan", "only": "model-gptq-4bit model-bnb-8bit"})
    assert result.succeeded, result.log
    (entry,) = json.loads(result.outputs["matrix"])["include"]
    assert entry["runs-on"] == ["self-hosted", "large ' $(x)"]
    assert entry["cells"].split() == ["model-gptq-4bit", "model-bnb-8bit"]
    assert QUANTIZE not in result.ran()
    installed = {
        path.name.partition("-")[0] for path in (runner.temp / "model-quantizer-core").rglob("*.dist-info")
    }
    assert {"model_quantizer_action", "huggingface_hub", "jsonschema"} <= installed
    assert "torch" not in installed
    assert sorted(path.name for path in callers.iterdir()) == ["argparse.py", "json.py", "pip.py"]
    assert {path: path.stat().st_mtime_ns for path in Path(sys.prefix).rglob("*.dist-info")} == before
    assert_harmless(runner, result)
