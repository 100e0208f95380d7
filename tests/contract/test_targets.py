"""What every publishing target keeps to, from the manifest's words to the state that is read back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from quantize_lib.errors import UsageError
from quantize_lib.manifest import InvalidManifestError, parse_manifest
from quantize_lib.manifest.schema import definition
from quantize_lib.plan import plan_json, plan_table
from quantize_lib.plan.cells import Plan
from quantize_lib.plan.plan_schema import plan_schema
from quantize_lib.publish.base import Origin
from quantize_lib.publish.registry import get_publisher, get_reader
from quantize_lib.report import read_publish_spec, read_report, write_report
from quantize_lib.report.publish_record import publish_from_json, publish_to_json
from quantize_lib.report.report_schema import report_schema
from quantize_lib.source.facts import Terms
from quantize_lib.targets import TARGETS, get_target, label, publish_spec
from tests.support.publications import NAME, ONE, PARTS, THREE, TWO, checkpoint, part
from tests.support.records import RECORD
from tests.support.target_stages import STAGES, Stage

ORIGIN = Origin(model="acme/tiny", revision="ab" * 20, terms=Terms(license="mit"))
NOW = datetime(2026, 11, 25, tzinfo=UTC)

each = pytest.mark.parametrize("name", TARGETS)


@pytest.fixture
def stage(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with STAGES[name](tmp_path, monkeypatch) as found:
        yield found


def plan_of(publish: dict[str, Any], folder: Path) -> Plan:
    (folder / "text.txt").touch()
    text = yaml.safe_dump(
        {
            "version": 1,
            "models": [{"id": "acme/tiny", "quantize": [{"method": "gptq", "bits": 4}]}],
            "publish": {"namespace": "acme", **publish},
        }
    )
    return parse_manifest(text, path=folder / "quantize.yml")


def test_every_target_is_tried() -> None:
    assert STAGES.keys() == TARGETS.keys()


def test_the_first_is_the_default_and_names_are_unique() -> None:
    assert [target.order for target in TARGETS.values()] == sorted({t.order for t in TARGETS.values()})
    assert all(name == target.name for name, target in TARGETS.items())


def test_an_unknown_name_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(KeyError, match=r"no target 'direktory'; there are directory, hub. Perhaps you meant"):
        get_target("direktory")


@each
def test_the_schema_knows_it_and_its_options(name: str) -> None:
    words = definition("publish")["properties"]
    assert name in words["to"]["enum"]
    assert f"`{name}`" in words["to"]["description"]
    for option in TARGETS[name].options:
        assert name in words[option.name]["x-targets"]
        assert {"title", "description"} <= words[option.name].keys()


@each
def test_its_options_are_for_it_alone(name: str, stage: Stage, tmp_path: Path) -> None:
    assert plan_of(dict(stage.publish), tmp_path).publish.to == name
    for other in TARGETS.values():
        own = {option.name: stage.publish.get(option.name) for option in TARGETS[name].options}
        foreign = {
            option.name: own[option.name]
            for option in TARGETS[name].options
            if own[option.name] is not None and not option.for_others and option not in other.options
        }
        for key, value in foreign.items():
            with pytest.raises(InvalidManifestError, match=f"{other.place} has none; it is for `to: {name}`"):
                plan_of({"to": other.name, key: value}, tmp_path)


@each
def test_options_that_do_not_go_together_are_refused(name: str, stage: Stage, tmp_path: Path) -> None:
    if stage.refused:
        with pytest.raises(InvalidManifestError, match="not together with"):
            plan_of(dict(stage.refused), tmp_path)
    else:
        assert list(TARGETS[name].check({option.name: True for option in TARGETS[name].options})) == []


@each
def test_a_plan_says_where_it_goes(name: str, stage: Stage, tmp_path: Path) -> None:
    plan = plan_of(dict(stage.publish), tmp_path)
    document = plan_json(plan, {})
    Draft202012Validator(plan_schema()).validate(document)
    assert document["publish"]["to"] == name
    assert document["publish"]["needs_credentials"] == TARGETS[name].needs_credentials
    assert f"\nPublished to {label(plan.publish)}." in plan_table(plan, {})


@each
def test_credentials_are_missed_before_anything_is_computed(name: str, stage: Stage, tmp_path: Path) -> None:
    spec = plan_of(dict(stage.publish), tmp_path).publish
    stage.log_out()
    assert get_reader(spec)
    if TARGETS[name].needs_credentials:
        with pytest.raises(UsageError, match=f"publish.to: {name} needs"):
            get_publisher(spec)
    else:
        assert get_publisher(spec)


@each
def test_a_checkpoint_is_published_read_back_and_published_again_without_a_change(
    name: str, stage: Stage, tmp_path: Path
) -> None:
    publisher = get_publisher(plan_of(dict(stage.publish), tmp_path).publish)
    made = checkpoint(tmp_path / "one", ONE)
    publisher.check([NAME])
    assert publisher.current(NAME) is None
    assert publisher.record(NAME) is None
    done = publisher.publish(made, NAME, fingerprint=ONE, message="Quantize it", origin=ORIGIN)
    assert len(done.commit) == 40
    state = publisher.current(NAME)
    assert state is not None
    assert (state.fingerprint, state.commit) == (ONE, done.commit)
    record = publisher.record(NAME)
    assert record is not None
    assert record["fingerprint"] == ONE
    held = stage.state()
    assert publisher.publish(made, NAME, fingerprint=ONE, message="Again", origin=ORIGIN) == done
    assert stage.state() == held
    # Another one takes its place.
    other = checkpoint(tmp_path / "two", TWO)
    newer = publisher.publish(other, NAME, fingerprint=TWO, message="Another", origin=ORIGIN)
    state = publisher.current(NAME)
    assert state is not None
    assert (state.fingerprint, state.commit) == (TWO, newer.commit)
    assert newer.commit != done.commit
    if TARGETS[name].keeps_history:
        publisher.rollback(NAME)
        state = publisher.current(NAME)
        assert state is not None
        assert (state.fingerprint, state.rejected) == (ONE, (TWO,))


@each
def test_parts_of_a_repository_lie_beside_each_other_and_each_changes_alone(
    name: str, stage: Stage, tmp_path: Path
) -> None:
    publisher = get_publisher(plan_of(dict(stage.publish), tmp_path).publish)

    def publish(kind: str, fingerprint: str) -> str:
        folder = tmp_path / f"{kind}-{fingerprint[:2]}"
        made = folder if folder.exists() else part(folder, kind, fingerprint)
        return publisher.publish(
            made, PARTS, part=kind, fingerprint=fingerprint, message="m", origin=ORIGIN
        ).commit

    def held() -> dict[str, str | None]:
        states = {kind: publisher.current(PARTS, kind) for kind in ("Q8_0", "Q4_0")}
        return {kind: state.fingerprint for kind, state in states.items() if state is not None}

    assert held() == {}
    publish("Q8_0", ONE)
    assert {"Q8_0": ONE}.items() <= held().items()
    publish("Q4_0", TWO)
    assert held() == {"Q8_0": ONE, "Q4_0": TWO}
    record = publisher.record(PARTS, "Q4_0")
    assert record is not None
    assert (record["fingerprint"], publisher.record(PARTS)) == (TWO, None)
    publish("Q8_0", THREE)
    assert held() == {"Q8_0": THREE, "Q4_0": TWO}
    before = publish("Q8_0", THREE)
    assert publish("Q8_0", THREE) == before
    if TARGETS[name].keeps_history:
        publisher.rollback(PARTS, "Q8_0")
        assert held() == {"Q8_0": ONE, "Q4_0": TWO}
        state = publisher.current(PARTS, "Q8_0")
        assert state is not None
        assert state.rejected == (THREE,)


@each
def test_a_report_keeps_what_publishing_later_needs(name: str, stage: Stage, tmp_path: Path) -> None:
    spec = plan_of(dict(stage.publish), tmp_path).publish
    folder = tmp_path / "output"
    folder.mkdir()
    write_report(folder, [RECORD], started=NOW, finished=NOW, command="x", publish=spec)
    found = read_publish_spec(folder)
    # Names stand in the records.
    assert found == replace(spec, namespace=None)
    assert found.to == name
    assert read_report(folder)[0].repository == RECORD.repository


@each
def test_a_report_without_the_options_stands_for_their_defaults(name: str, tmp_path: Path) -> None:
    written = publish_to_json(publish_spec(name), tmp_path)
    required = report_schema()["properties"]["publish"]["oneOf"][1]["required"]
    assert set(required) <= written.keys()
    earlier = {key: value for key, value in written.items() if key in required}
    assert publish_to_json(publish_from_json(earlier, tmp_path), tmp_path) == written
