"""What a plan builds and why, and what `--changed-only` leaves out."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from quantize_lib import __version__
from quantize_lib.cli import main
from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.errors import PublishError, UsageError
from quantize_lib.host.changes import changed_only
from quantize_lib.host.lookups import Identity, Lookups
from quantize_lib.host.survey import survey
from quantize_lib.manifest import parse_manifest
from quantize_lib.plan.cells import Plan
from quantize_lib.plan.verdict import Verdict
from quantize_lib.publish.base import PublishedState, Publisher
from quantize_lib.publish.directory.publisher import DirectoryPublisher
from quantize_lib.targets import publish_spec
from tests.support.model_files import LLAMA, write_model
from tests.support.shelf import Shelf

COMMIT = "c" * 40


def plan(
    folder: Path, *, publish: Mapping[str, Any] | None = None, text: str = "A text.", **entry: Any
) -> Plan:
    """Two models, of which the first is not supported."""
    write_model(folder / "bad", {**LLAMA, "is_encoder_decoder": True})
    write_model(folder / "good")
    quantize = [{"method": "bitsandbytes", "bits": 8, **entry}]
    words = {
        "version": 1,
        "defaults": {"calibration": {"texts": [text]}},
        "models": [{"id": f"./{name}", "quantize": quantize} for name in ("bad", "good")],
        "publish": publish or {},
    }
    return parse_manifest(json.dumps(words), path=folder / "quantize.yml")


def good(whole: Plan, said: io.StringIO | None = None) -> tuple[str, Identity]:
    """The cell of the good model, and what determines it."""
    job = whole.jobs[1]
    (cell,) = job.cells
    return cell.repository, Lookups(PlainReporter(said or io.StringIO())).identity(cell, job)


def judge(whole: Plan, publisher: Publisher | None, *, force: bool = False) -> Verdict:
    """The verdict on the good model's cell."""
    reporter = PlainReporter(io.StringIO())
    verdicts = survey(whole, publisher, Lookups(reporter), reporter, force=force)
    return verdicts[whole.jobs[1].cells[0].id]


def state(identity: Identity, **changes: Any) -> PublishedState:
    """What is published where a cell was built as it is now."""
    values = {"fingerprint": identity.fingerprint, "version": __version__, "inputs": identity.inputs}
    return PublishedState(commit=COMMIT, **{**values, **changes})


def test_what_is_published_with_the_same_fingerprint_is_left_alone(tmp_path: Path) -> None:
    whole = plan(tmp_path)
    repository, identity = good(whole)
    verdict = judge(whole, Shelf({repository: state(identity)}))
    assert verdict == Verdict(build=False, reasons=("unchanged",), text="unchanged", commit=COMMIT)


def test_what_was_never_published_is_built_without_a_look_at_model_or_text(tmp_path: Path) -> None:
    """The bad model could not be looked at."""
    whole = plan(tmp_path, method="awq", bits=4)
    reporter = PlainReporter(io.StringIO())
    verdicts = survey(whole, Shelf({}), Lookups(reporter), reporter)
    assert {verdict.text for verdict in verdicts.values()} == {"never published"}
    assert {verdict.reasons for verdict in verdicts.values()} == {("new",)}


@pytest.mark.parametrize(
    ("old", "reasons", "text"),
    [
        ({"base": "0" * 40}, ("base",), "the base model changed: 000000000000 → "),
        ({"settings": "sha256:" + "0" * 16}, ("settings",), "the settings changed"),
        ({"calibration": "sha256:" + "0" * 16}, ("calibration",), "the calibration data changed"),
        (
            {"base": "0" * 40, "calibration": "sha256:" + "0" * 16},
            ("base", "calibration"),
            "the base model changed: 000000000000 → ",
        ),
        ({}, ("changed",), "it was published with other settings or data"),
    ],
)
def test_a_change_says_what_it_was(
    tmp_path: Path, old: dict[str, str], reasons: tuple[str, ...], text: str
) -> None:
    whole = plan(tmp_path, method="awq", bits=4)
    repository, identity = good(whole)
    inputs = {**identity.inputs, **old} if old else {}
    verdict = judge(whole, Shelf({repository: state(identity, fingerprint="f" * 64, inputs=inputs)}))
    assert (verdict.build, verdict.reasons, verdict.commit) == (True, reasons, COMMIT)
    assert verdict.text.startswith(text)


def test_another_version_of_the_tool_counts_only_where_the_manifest_says_so(tmp_path: Path) -> None:
    for publish, build in (({}, False), ({"rebuild_on_new_version": True}, True)):
        whole = plan(tmp_path, publish=publish)
        repository, identity = good(whole)
        verdict = judge(whole, Shelf({repository: state(identity, version="0.0.1")}))
        assert verdict.build is build
        same = judge(whole, Shelf({repository: state(identity)}))
        assert not same.build
        assert verdict.reasons == (("tool",) if build else ("unchanged",))
        assert ("`0.0.1` → " in verdict.text) is build


def test_force_builds_what_is_unchanged_and_asks_nobody(tmp_path: Path) -> None:
    whole = plan(tmp_path)
    assert judge(whole, None, force=True).reasons == ("forced",)


def test_what_was_taken_back_is_not_built_again_until_something_changes(tmp_path: Path) -> None:
    whole = plan(tmp_path)
    repository, identity = good(whole)
    taken_back = {"fingerprint": "f" * 64, "rejected": (identity.fingerprint,)}
    verdict = judge(whole, Shelf({repository: state(identity, **taken_back)}))
    assert (verdict.build, verdict.reasons) == (False, ("rejected",))
    other = state(identity, fingerprint=None, rejected=("f" * 64,))
    assert judge(whole, Shelf({repository: other})).reasons == ("new",)


def test_a_repository_that_cannot_be_looked_at_is_built_and_said(tmp_path: Path) -> None:
    whole = plan(tmp_path)
    repository, _ = good(whole)
    said = io.StringIO()
    reporter = PlainReporter(said)
    shelf = Shelf({repository: PublishError("the Hub answered 503")})
    verdict = survey(whole, shelf, Lookups(reporter), reporter)["good-bnb-8bit"]
    assert (verdict.build, verdict.reasons) == (True, ("unknown",))
    assert "the Hub answered 503" in said.getvalue()


def test_many_repositories_that_cannot_be_looked_at_are_not_told_one_by_one(tmp_path: Path) -> None:
    write_model(tmp_path / "m")
    models = [
        {"id": "./m", "name": f"m{number}", "quantize": [{"method": "awq", "bits": 4}]} for number in range(9)
    ]
    words = json.dumps({"version": 1, "models": models})
    whole = parse_manifest(words, path=tmp_path / "quantize.yml")
    said = io.StringIO()
    shelf = Shelf({cell.repository: PublishError("no answer") for _, cell in whole.cells()})
    survey(whole, shelf, Lookups(PlainReporter(said)), PlainReporter(said))
    assert said.getvalue().count("no answer") == 5
    assert "and 4 more" in said.getvalue()


def test_a_model_that_cannot_be_looked_at_keeps_no_other_from_being_made(tmp_path: Path) -> None:
    said = io.StringIO()
    reporter = PlainReporter(said)
    whole = plan(tmp_path)
    lookups = Lookups(reporter)
    publisher = DirectoryPublisher(publish_spec("directory", path=tmp_path / "published"))
    verdicts = survey(whole, publisher, lookups, reporter)
    assert changed_only(whole, verdicts, lookups, reporter) == whole
    assert "warning: bad-auto: LlamaForCausalLM (llama) is an encoder-decoder model" in said.getvalue()
    assert "good-bnb-8bit: to be built: never published" in said.getvalue()


def test_a_text_that_cannot_be_read_keeps_no_other_job_from_being_made(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_model(tmp_path / name)
    (tmp_path / "c.zip").write_bytes(b"PK\x03\x04")
    awq = {"method": "awq", "bits": 4}
    words = {
        "version": 1,
        "models": [
            {"id": "./one", "quantize": [awq], "calibration": {"files": ["c.zip"]}},
            {"id": "./other", "quantize": [{"method": "bitsandbytes", "bits": 8}]},
        ],
    }
    whole = parse_manifest(json.dumps(words), path=tmp_path / "quantize.yml")
    said = io.StringIO()
    reporter = PlainReporter(said)
    lookups = Lookups(reporter)
    publisher = DirectoryPublisher(publish_spec("directory", path=tmp_path / "published"))
    verdicts = survey(whole, publisher, lookups, reporter)
    assert changed_only(whole, verdicts, lookups, reporter) == whole
    assert f"warning: one-auto: {tmp_path / 'c.zip'} is a zip archive" in said.getvalue()


def test_unchanged_cells_are_left_out_and_a_job_without_cells_too(tmp_path: Path) -> None:
    reporter = PlainReporter(io.StringIO())
    whole = plan(tmp_path)
    lookups = Lookups(reporter)
    repository, identity = good(whole)
    verdicts = survey(whole, Shelf({repository: state(identity)}), lookups, reporter)
    assert [job.id for job in changed_only(whole, verdicts, lookups, reporter).jobs] == ["bad-auto"]


def test_settings_that_do_not_fit_are_an_error_all_the_same(tmp_path: Path) -> None:
    whole = plan(tmp_path, method="gptq", group_size=128)
    reporter = PlainReporter(io.StringIO())
    lookups = Lookups(reporter)
    verdicts = survey(whole, None, lookups, reporter)
    with pytest.raises(UsageError, match="-gptq-8bit: "):
        changed_only(whole, verdicts, lookups, reporter)


def test_the_plan_says_why_each_cell_is_to_be_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "good")
    words = {"version": 1, "models": [{"id": "./good", "quantize": [{"method": "awq", "bits": 4}]}]}
    (tmp_path / "quantize.yml").write_text(json.dumps(words), encoding="utf-8")
    assert main(["plan", str(tmp_path / "quantize.yml"), "--format", "json"]) == 0
    ((cell,),) = (job["cells"] for job in json.loads(capsys.readouterr().out)["jobs"])
    assert cell["change"] == {"build": True, "reasons": ["new"], "text": "never published", "commit": None}
    assert main(["plan", str(tmp_path / "quantize.yml"), "--force"]) == 0
    assert "yes: forced" in capsys.readouterr().out
