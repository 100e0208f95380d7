"""The action's inputs: what is taken, what is refused, and whose commit it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from yaml import safe_load

from quantize_lib.attestation import ATTESTATION_FILE
from quantize_lib.files import sha256_file
from quantize_lib.report.records import RECORD_FILE
from tests.support.action_inputs import DEFAULTS, FORK, PUSH
from tools.action.attest import attach, checksums
from tools.action.inputs import DEFAULTS as DEFAULT_VALUES
from tools.action.inputs import InputError, Inputs, from_fork, read_inputs
from tools.action.main import prepare

ROOT = Path(__file__).resolve().parents[2]


def yaml(path: str) -> Any:
    return safe_load((ROOT / path).read_text(encoding="utf-8"))


def inputs(event: Mapping[str, Any] = PUSH, **changed: str) -> Inputs:
    return read_inputs(
        {**DEFAULTS, **{f"INPUT_{name.upper()}": value for name, value in changed.items()}}, event
    )


def test_a_relative_path_never_reads_as_an_option() -> None:
    assert inputs(manifest="--help.yml").manifest == "./--help.yml"
    assert inputs(manifest="a/../b.yml").manifest == "./b.yml"
    assert inputs(output="/data/out").output == "/data/out"


@pytest.mark.parametrize("text", ["a b,c", "a,b c", " a\nb\t c ", "a,,b,a,c"])
def test_cells_are_separated_by_spaces_commas_or_lines(text: str) -> None:
    assert inputs(only=text).only == ("a", "b", "c")


@pytest.mark.parametrize("path", ["a\nb", "a\x00b", "a\x1b[31m"])
def test_a_path_without_sense_is_refused(path: str) -> None:
    with pytest.raises(InputError, match=r"^manifest: .* is not a plain path"):
        inputs(manifest=path)


@pytest.mark.parametrize("path", ["out*", "out?", "a[b]", "!out", "{a,b}"])
def test_the_output_is_no_pattern(path: str) -> None:
    with pytest.raises(InputError, match=r"^output: .* is not a plain path"):
        inputs(output=path)


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        inputs(command="rum", publish="null", image="-v /:/host", only="x y;z")
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["only", "publish", "command", "image"]
    assert lines[1] == "publish: 'null' is neither true nor false (nor yes, no, on, off, 1, 0)"
    assert lines[2] == "command: 'rum' is not one of run, plan, calibrate, validate"


def test_shards_belong_to_the_commands_that_know_them() -> None:
    assert inputs(command="plan", shards="3").shards == 3
    assert inputs(command="plan", shards="0").shards == inputs().shards == 0
    assert inputs(command="calibrate", shard="2/3").shard == "2/3"
    assert inputs(statistics="there").statistics == "./there"
    with pytest.raises(InputError) as caught:
        inputs(shards="3", shard="2/3")
    assert str(caught.value).splitlines() == [
        "shards: belongs to `command: plan`",
        "shard: belongs to `command: calibrate`",
    ]
    with pytest.raises(InputError, match=r"^command: `calibrate` needs a part in `shard`, as in 2/3$"):
        inputs(command="calibrate")
    with pytest.raises(InputError, match=r"^shards: 'three' is not a number of parts$"):
        inputs(command="plan", shards="three")
    with pytest.raises(InputError, match=r"^statistics: belongs to `command: run`$"):
        inputs(command="calibrate", shard="2/3", statistics="there")


@pytest.mark.parametrize("word", ["2", "2/3;id", "0/3", "-2/3", "2/3 x", "two/three"])
def test_a_shard_is_two_numbers(word: str) -> None:
    with pytest.raises(InputError, match=r"^shard: .* is not a part, as in 2/3"):
        inputs(command="calibrate", shard=word)


def test_each_shard_has_a_state_of_its_own_and_nothing_to_publish() -> None:
    one, two = (inputs(command="calibrate", shard=f"{number}/3", executor="local") for number in (1, 2))
    assert one.key != two.key
    assert one.state == "./output/.1-of-3"
    assert (one.profile, one.two_steps) == ("cpu", False)
    assert inputs().state == "./output/.state"


def test_an_input_that_is_written_and_empty_is_at_its_default() -> None:
    empty = {name.replace("-", "_"): "" for name in DEFAULT_VALUES}
    given = inputs(PUSH, **empty)
    assert replace(given, defaulted=()) == inputs()
    assert given.defaulted == tuple(name for name, value in DEFAULT_VALUES.items() if value)
    assert inputs(publish=" \n").defaulted == ("publish",)
    assert inputs().defaulted == ()


def test_the_log_says_which_inputs_are_at_their_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {**DEFAULTS, "INPUT_PUBLISH": "", "INPUT_DEVICE": ""}
    files = {"RUNNER_TEMP": str(tmp_path), "GITHUB_OUTPUT": str(tmp_path / "outputs")}
    for name, value in {**given, **files, "GITHUB_RUN_ID": "1", "GITHUB_RUN_ATTEMPT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert prepare() == 0
    assert capsys.readouterr().out == (
        "::notice title=Model Quantizer::Inputs that are written and empty are at their default "
        "(device: auto, publish: true).\n"
    )


def test_the_defaults_are_those_of_the_action_and_of_the_workflow() -> None:
    declared = {name: str(words["default"]) for name, words in yaml("action.yml")["inputs"].items()}
    assert {name: value for name, value in declared.items() if name != "python-version"} == DEFAULT_VALUES
    # YAML 1.1 reads the key `on` as true.
    workflow = yaml(".github/workflows/quantize.yml")[True]["workflow_call"]["inputs"]
    for name in workflow.keys() & declared.keys():
        assert str(workflow[name]["default"]).lower() == declared[name]
    everything = {**{name: str(words["default"]) for name, words in workflow.items()}, **declared}
    for path in ("action.yml", ".github/workflows/quantize.yml"):
        text = (ROOT / path).read_text(encoding="utf-8")
        for name, value in re.findall(r"\binputs\.([\w-]+) \|\| '?([^' }]*)", text):
            assert name.startswith("hf-token") or value == everything[name]


@pytest.mark.parametrize("text", ["true", "True", "TRUE", " true", "true\n", "yes", "Yes", "on", "1"])
def test_true_is_true_however_it_is_spelt(text: str) -> None:
    assert inputs(changed_only=text).changed_only is True


@pytest.mark.parametrize("text", ["false", "False", "FALSE", "\tfalse ", "no", "NO", "off", "0"])
def test_false_is_false_however_it_is_spelt(text: str) -> None:
    assert inputs(publish=text).publish is False


@pytest.mark.parametrize("text", ["null", "ja", "truefalse", "2", "!false", "${{ true }}"])
def test_what_is_neither_true_nor_false_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^publish: .* is neither true nor false"):
        inputs(publish=text)


def test_a_choice_may_be_written_in_any_case() -> None:
    given = inputs(device="CPU", command=" Plan\n", executor="Local")
    assert (given.device, given.command, given.executor) == ("cpu", "plan", "local")


@pytest.mark.parametrize("token", ["hf_abc\n", " hf_abc", "hf_abc\r\n"])
def test_white_space_around_a_token_is_no_part_of_it(token: str) -> None:
    assert inputs(hf_token_write=token, hf_token_read=token).can_write


def test_a_blank_token_is_none() -> None:
    assert not inputs(hf_token_write=" \n").can_write


@pytest.mark.parametrize("image", ["ghcr.io/Acme/x:1", "acme/X", "a b", "x:", "x@sha256"])
def test_what_docker_takes_for_no_image_is_refused(image: str) -> None:
    with pytest.raises(InputError, match=r"^image: .* is not a container image"):
        inputs(image=image)


def test_a_token_is_never_quoted() -> None:
    with pytest.raises(InputError) as caught:
        inputs(hf_token_write="hf_secret with space")
    assert "hf_secret" not in str(caught.value)


@pytest.mark.parametrize(
    "image",
    [
        *("ghcr.io/acme/mq@sha256:" + "0" * 64, "localhost:5000/mq:1.2-cpu", "model-quantizer:cpu"),
        *("Registry.example.com/a/b_c/d:V1", "a/b", "x:1@sha256:" + "f" * 64),
    ],
)
def test_an_image_is_taken_as_docker_takes_it(image: str) -> None:
    assert inputs(image=image).image == image


def test_publishing_is_a_step_of_its_own_only_with_a_token() -> None:
    assert inputs(hf_token_write="hf_x").two_steps
    assert not inputs().two_steps
    assert not inputs(hf_token_write="hf_x", publish="false").two_steps
    assert not inputs(hf_token_write="hf_x", command="plan").two_steps
    assert not inputs(FORK, hf_token_write="hf_x").two_steps


@pytest.mark.parametrize(
    ("changed", "profile"),
    [
        ({}, "core"),
        ({"executor": "local"}, "cpu"),
        ({"executor": "local", "device": "cuda"}, "cuda"),
        ({"executor": "local", "command": "plan"}, "core"),
    ],
)
def test_pytorch_is_installed_only_where_the_job_runs_here(changed: dict[str, str], profile: str) -> None:
    assert inputs(PUSH, **changed).profile == profile


def test_the_key_is_the_entrys_whatever_the_order_of_its_cells() -> None:
    assert inputs(only="a b").key == inputs(only="b,a").key
    others = [inputs(only="a"), inputs(device="cpu"), inputs(manifest="x.yml"), inputs(output="x")]
    assert len({other.key for other in others} | {inputs(only="a b").key}) == 5


def test_later_steps_read_what_the_first_one_saw(tmp_path: Path) -> None:
    saved = inputs(only="a b", hf_token_write="hf_secret")
    saved.save(tmp_path)
    assert Inputs.load(tmp_path) == saved
    assert "hf_secret" not in (tmp_path / "inputs.json").read_text(encoding="utf-8")


def test_a_pull_request_of_a_fork_is_not_trusted() -> None:
    fork = inputs(FORK)
    assert (fork.trusted, fork.publish) == (False, False)
    assert inputs(PUSH).publish


@pytest.mark.parametrize(
    ("event", "fork"),
    [
        ({}, False),
        ({"pull_request": {"head": {"repo": {"full_name": "acme/models"}}}}, False),
        ({"pull_request": {"head": {"repo": {"full_name": "mallory/models"}}}}, True),
        ({"pull_request": {"head": {"repo": None}}}, True),
        ({"workflow_run": {"head_repository": {"full_name": "acme/models"}}}, False),
        ({"workflow_run": {"head_repository": {"full_name": "mallory/models"}}}, True),
        ({"workflow_run": {"head_repository": None}}, True),
    ],
)
def test_whose_commit_it_is_stands_in_the_event(event: dict[str, Any], fork: bool) -> None:
    assert from_fork(event, "acme/models") is fork


def test_signing_needs_an_identity_and_makes_publishing_a_step_of_its_own() -> None:
    with pytest.raises(InputError, match=r"^attest: the job needs the permissions `id-token: write`"):
        inputs(attest="true")
    assert inputs(attest="true", command="plan").attest
    identity = {
        **DEFAULTS,
        "INPUT_ATTEST": "true",
        "ACTIONS_ID_TOKEN_REQUEST_URL": "https://identity.example",
    }
    assert read_inputs(identity, PUSH).two_steps
    assert not read_inputs({**identity, "INPUT_PUBLISH": "false"}, PUSH).two_steps
    assert not read_inputs(identity, FORK).attest


def test_what_is_signed_is_named_as_checksum_files_name_it_and_nothing_else_is(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.json"
    bundle.write_text("{}")
    cells: list[dict[str, Any]] = [
        {"status": "built", "path": "a"},
        {"status": "gated", "path": "b"},
        {"status": "built", "path": None},
    ]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / RECORD_FILE).write_text("{}")
    assert checksums(tmp_path, cells) == f"{sha256_file(bundle)}  a/{RECORD_FILE}\n"
    attach(bundle, tmp_path, cells)
    assert (tmp_path / "a" / ATTESTATION_FILE).read_text() == "{}"
    assert not (tmp_path / "b" / ATTESTATION_FILE).exists()
