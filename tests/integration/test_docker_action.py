"""The action as most use it: the Docker executor, with the real image on the real engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.action_runner import HARMLESS_COMMANDS, ROOT, ActionResult, Runner
from tests.support.small_runs import FASTEST, evaluation, manifest, save_tiny_model

pytestmark = pytest.mark.docker

READ, WRITE = "hf_readCanary0003", "hf_writeCanary0004"
CELL = "tiny-bnb-8bit"


@pytest.fixture(scope="module")
def done(
    image: str, tmp_path_factory: pytest.TempPathFactory, calibration_text: Path, held_out_text: Path
) -> tuple[Runner, ActionResult]:
    model = save_tiny_model(tmp_path_factory.mktemp("model") / "tiny", calibration_text)
    for path in model.iterdir():
        # safetensors writes private files; a container's user must be able to read them.
        path.chmod(0o644)
    # The host's side is what the action really installs: the light core, from its lock files.
    runner = Runner(tmp_path_factory.mktemp("docker"), "push")
    manifest(
        runner.workspace,
        model,
        calibration_text,
        FASTEST,
        evaluate=evaluation(held_out_text),
        publish={"to": "directory", "path": "published"},
    )
    inputs = {"image": image, "artifacts": "true", "hf-token-read": READ, "hf-token-write": WRITE}
    return runner, runner.use(ROOT, inputs)


def test_a_model_is_quantized_in_a_container_and_published_by_the_host(
    done: tuple[Runner, ActionResult],
) -> None:
    runner, result = done
    assert result.succeeded, result.log
    assert json.loads(result.outputs["counts"])["published"] == 1
    assert (runner.workspace / "published" / CELL / "model.safetensors").is_file()
    assert [path.name for path in (runner.artifacts / result.outputs["artifact"]).rglob("*.safetensors")]
    core = runner.temp / "model-quantizer-core"
    installed = {path.name.partition("-")[0] for path in core.rglob("*.dist-info")}
    assert "docker" in installed
    assert not {"torch", "transformers", "safetensors"} & installed


def test_the_log_says_in_which_image_it_ran_and_holds_no_command(
    done: tuple[Runner, ActionResult], image: str
) -> None:
    _, result = done
    assert f"runs in {image}" in result.log
    assert {command.name for command in result.commands} <= HARMLESS_COMMANDS


def test_no_token_is_anywhere_the_container_could_write(done: tuple[Runner, ActionResult]) -> None:
    runner, _ = done
    files = [path for path in runner.workspace.rglob("*") if path.is_file()]
    assert files
    for token in (READ, WRITE):
        assert not [path for path in files if token.encode() in path.read_bytes()]
