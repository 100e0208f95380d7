"""What every state store keeps to, from the manifest's words to the set that is brought back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from quantize_lib.errors import EngineError
from quantize_lib.job.layout import FINISHED_FILE, PASSES, PROGRESS_FILE
from quantize_lib.kept_state import index as indexes
from quantize_lib.kept_state import snapshot as snapshots
from quantize_lib.kept_state.base import JobStore, Store, get_store
from quantize_lib.kept_state.keeping import JobKeeper
from quantize_lib.manifest import InvalidManifestError, parse_manifest
from quantize_lib.manifest.schema import definition
from quantize_lib.plan import plan_json, plan_table
from quantize_lib.plan.cells import Plan
from quantize_lib.plan.plan_schema import plan_schema
from quantize_lib.state_stores import DEFAULT_STORE, STATE_STORES, get_state_store, state_label
from tests.support.publications import met
from tests.support.states import CELL, JOB, Heard, tree, write_pass

BEYOND = [name for name, store in STATE_STORES.items() if store.keeper is not None]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A store's place in a test.

    Attributes:
        state: a manifest's `state` for it.
        stored: the bytes of every piece that is stored there, of whatever set.
        damage: changes one of them.
        deny: lets nothing more be written.
    """

    state: Mapping[str, Any]
    stored: Callable[[], list[bytes]]
    damage: Callable[[], None]
    deny: Callable[[], None]


@contextmanager
def _directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    place = folder / "kept"

    def pieces() -> list[Path]:
        return sorted(path for path in place.rglob("*") if path.is_file() and path.name != "state.json")

    def damage() -> None:
        pieces()[0].write_bytes(b"damaged")

    def deny() -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device", str(place))

        monkeypatch.setattr("quantize_lib.kept_state.directory.write_bytes", full)

    yield Stage(
        state={"in": "directory", "path": "kept"},
        stored=lambda: [path.read_bytes() for path in pieces()],
        damage=damage,
        deny=deny,
    )


@contextmanager
def _hub(_: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr("time.sleep", lambda _: None)
    with met(monkeypatch) as hub:

        def damage() -> None:
            objects = hub.model("acme/state").objects
            objects[next(iter(objects))] = b"damaged"

        def deny() -> None:
            hub.fail("status", route="create_commit", status=507, times=None)

        yield Stage(
            state={"in": "hub", "repository": "acme/state"},
            stored=lambda: [
                data.removesuffix(f"state-{JOB}".encode())
                for data in hub.model("acme/state").objects.values()
            ],
            damage=damage,
            deny=deny,
        )


STAGES: Mapping[str, Callable[[Path, pytest.MonkeyPatch], AbstractContextManager[Stage]]] = {
    "directory": _directory,
    "hub": _hub,
}


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(indexes, "PIECE_BYTES", 1000)
    monkeypatch.setattr(snapshots, "PIECE_BYTES", 1000)
    with STAGES[request.param](tmp_path, monkeypatch) as found:
        yield found


def plan_of(state: Mapping[str, Any] | None, folder: Path) -> Plan:
    document = {"version": 1, "models": [{"id": "acme/tiny", "quantize": [{"method": "gptq", "bits": 4}]}]}
    text = yaml.safe_dump({**document, **({} if state is None else {"state": dict(state)})})
    return parse_manifest(text, path=folder / "quantize.yml")


def store_of(stage: Stage, folder: Path) -> Store:
    store = get_store(plan_of(stage.state, folder).state)
    assert store is not None
    store.check()
    return store


def keeper(store: Store, reporter: Heard, **other: Any) -> JobKeeper:
    words = {"fingerprints": {CELL: "ab" * 32}, "contained": False, "estimate": 10**6, **other}
    return JobKeeper(store, JOB, reporter=reporter, **words)


def send(one: JobKeeper, root: Path) -> None:
    """As a job that failed: what it left is sent."""
    with pytest.raises(EngineError), one.following(root):
        raise EngineError("no")


def test_every_store_is_tried_and_the_first_is_the_default() -> None:
    assert list(STAGES) == BEYOND
    assert next(iter(STATE_STORES)) == DEFAULT_STORE
    assert get_state_store(DEFAULT_STORE).keeper is None
    with pytest.raises(KeyError, match=r"no state store 'hup'; there are .*\. Perhaps you meant `hub`"):
        get_state_store("hup")


def test_without_a_word_nothing_is_kept_anywhere_else(tmp_path: Path) -> None:
    plan = plan_of(None, tmp_path)
    assert get_store(plan.state) is None
    assert plan_json(plan, {})["state"]["beyond_output"] is False
    assert "State" not in plan_table(plan, {})


def test_a_plan_says_where_state_is_kept(stage: Stage, tmp_path: Path) -> None:
    name, words = stage.state["in"], definition("state")["properties"]
    assert all(name in words[option.name]["x-stores"] for option in STATE_STORES[name].options)
    plan = plan_of(stage.state, tmp_path)
    document = plan_json(plan, {})
    Draft202012Validator(plan_schema()).validate(document)
    assert document["state"] == {"in": name, "label": state_label(plan.state), "beyond_output": True}
    assert f"\nState of unfinished jobs is kept in {state_label(plan.state)}." in plan_table(plan, {})


def test_its_options_are_for_it_alone(stage: Stage, tmp_path: Path) -> None:
    for other in STATE_STORES.values():
        for key in set(stage.state) - {"in"} - {option.name for option in other.options}:
            with pytest.raises(
                InvalidManifestError, match=rf"state\.{key}: `in: {other.name}` has none; it is for `in: "
            ):
                plan_of({**stage.state, "in": other.name}, tmp_path)


def test_what_is_brought_back_is_what_was_kept(stage: Stage, tmp_path: Path) -> None:
    store, reporter, root = store_of(stage, tmp_path), Heard(), tmp_path / "root"
    write_pass(root, 3, shard=2500)
    (root / PASSES / "proof.pt").write_bytes(b"proof")
    (root / PASSES / "lock").touch()
    send(keeper(store, reporter), root)
    assert not reporter.warnings
    again, back = keeper(store, reporter), tmp_path / "back"
    again.bring_back(back)
    assert not reporter.warnings
    assert again.is_ours
    # Nothing is sent of what was brought back.
    said = len(reporter.lines)
    send(again, back)
    assert len(reporter.lines) == said
    assert tree(back) == {path: data for path, data in tree(root).items() if path != f"{PASSES}/lock"}


def test_only_what_is_new_is_sent_and_what_is_old_is_removed(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, reporter, root = store_of(stage, tmp_path), Heard(), tmp_path / "root"
    one = keeper(store, reporter)
    sent: list[int] = []
    place = type(store.job(JOB))
    put = place.put

    def counted(self: JobStore, piece: str, data: bytes) -> None:
        sent.append(len(data))
        put(self, piece, data)

    monkeypatch.setattr(place, "put", counted)
    write_pass(root, 1, shard=2500)
    send(one, root)
    sent.clear()
    write_pass(root, 2, shard=4000)
    send(one, root)
    # The last piece of the shard and one more, hidden states, progress.json.
    assert sorted(sent)[-4:] == [500, 1000, 1000, 1000]
    assert len(sent) == 5
    whole = sum(map(len, tree(root).values()))
    assert sum(map(len, stage.stored())) == whole
    assert not reporter.warnings


def test_a_sending_that_the_end_of_the_job_cuts_off_is_made_up_for(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, reporter, root = store_of(stage, tmp_path), Heard(), tmp_path / "root"
    one = keeper(store, reporter)
    write_pass(root, 1, shard=2500)
    place = type(store.job(JOB))
    put, began, over = place.put, threading.Event(), threading.Event()

    def slow(self: JobStore, piece: str, data: bytes) -> None:
        began.set()
        over.wait(10)
        put(self, piece, data)

    monkeypatch.setattr(place, "put", slow)

    def ends() -> None:
        assert began.wait(10)
        over.set()
        raise EngineError("no")

    with pytest.raises(EngineError), one.following(root):
        ends()
    keeper(store, reporter).bring_back(tmp_path / "back")
    assert tree(tmp_path / "back") == tree(root)


def test_after_a_sending_that_was_cut_off_the_set_before_is_whole(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, reporter, root = store_of(stage, tmp_path), Heard(), tmp_path / "root"
    write_pass(root, 1, shard=2500)
    send(keeper(store, reporter), root)
    first = tree(root)
    write_pass(root, 2, shard=9000)

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(store.job(JOB)), "commit", cut)
        with pytest.raises(KeyboardInterrupt):
            send(keeper(store, reporter), root)
    keeper(store, reporter).bring_back(tmp_path / "back")
    assert tree(tmp_path / "back") == first
    # What the cut sending had brought there goes with the next one.
    send(keeper(store, reporter), root)
    keeper(store, reporter).bring_back(tmp_path / "again")
    assert tree(tmp_path / "again") == tree(root)


def test_a_damaged_set_is_told_and_not_used(stage: Stage, tmp_path: Path) -> None:
    store, reporter, root = store_of(stage, tmp_path), Heard(), tmp_path / "root"
    write_pass(root, 1, shard=2500)
    send(keeper(store, reporter), root)
    stage.damage()
    one = keeper(store, reporter)
    one.bring_back(tmp_path / "back")
    assert tree(tmp_path / "back") == {}
    assert not one.is_ours
    (warning,) = reporter.warnings
    assert warning.startswith(f"{JOB} begins afresh: its state in {store.label} is not used: ")
    assert warning.endswith("is damaged there")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"fingerprints": {CELL: "cd" * 32}}, "other settings or another base model"),
        ({"fingerprints": {"tiny-awq-4bit": "ab" * 32}}, "other settings or another base model"),
        ({"contained": False}, "a container wrote it, and this run has none"),
    ],
)
def test_a_set_of_something_else_is_told_and_not_used(
    stage: Stage, tmp_path: Path, other: dict[str, Any], words: str
) -> None:
    store, reporter, root = store_of(stage, tmp_path), Heard(), tmp_path / "root"
    write_pass(root, 1, shard=100)
    send(keeper(store, reporter, contained=True), root)
    keeper(store, reporter, **{"contained": True, **other}).bring_back(tmp_path / "back")
    assert tree(tmp_path / "back") == {}
    assert words in reporter.warnings[0]


def test_a_finished_cell_is_kept_with_its_folder(stage: Stage, tmp_path: Path) -> None:
    store, reporter, root = store_of(stage, tmp_path), Heard(), tmp_path / "root"
    (root / PASSES).mkdir(parents=True)
    (root / PASSES / FINISHED_FILE).write_text(json.dumps({"cells": {CELL: {}}}), encoding="utf-8")
    (root / CELL / "chats").mkdir(parents=True)
    (root / CELL / "model.safetensors").write_bytes(b"m" * 70_000)
    (root / CELL / "chats" / "one.jinja").write_text("{{ text }}", encoding="utf-8")
    send(keeper(store, reporter), root)
    keeper(store, reporter).bring_back(tmp_path / "back")
    assert not reporter.warnings
    assert tree(tmp_path / "back") == tree(root)


def test_what_another_run_keeps_is_left_alone(stage: Stage, tmp_path: Path) -> None:
    store, reporter, root = store_of(stage, tmp_path), Heard(), tmp_path / "root"
    write_pass(root, 1, shard=100)
    first, second = keeper(store, Heard()), keeper(store, reporter)
    second.bring_back(tmp_path / "back")
    send(first, root)
    write_pass(root, 2, shard=200)
    send(second, root)
    write_pass(root, 3, shard=300)
    send(second, root)
    second.remove()
    (warning,) = reporter.warnings
    assert f"another run keeps its state in {store.label}" in warning
    keeper(store, reporter).bring_back(tmp_path / "again")
    assert json.loads((tmp_path / "again" / PASSES / "1" / PROGRESS_FILE).read_text())["blocks"] == 1


def test_what_is_done_leaves_nothing_and_removing_nothing_is_no_error(stage: Stage, tmp_path: Path) -> None:
    store, reporter, root = store_of(stage, tmp_path), Heard(), tmp_path / "root"
    one = keeper(store, reporter)
    one.remove()
    write_pass(root, 1, shard=2500)
    send(one, root)
    assert stage.stored()
    one.remove()
    one.remove()
    assert not reporter.warnings
    assert stage.stored() == []
    assert store.job(JOB).index() is None


def test_a_store_that_takes_no_more_is_told_once_and_ends_nothing(stage: Stage, tmp_path: Path) -> None:
    store, reporter, root = store_of(stage, tmp_path), Heard(), tmp_path / "root"
    one = keeper(store, reporter)
    write_pass(root, 1, shard=100)
    send(one, root)
    stage.deny()
    for block in (2, 3):
        write_pass(root, block, shard=100 * block)
        send(one, root)
    (warning,) = reporter.warnings
    assert warning.startswith(f"{JOB}: its state cannot be kept in {store.label}: ")
    assert warning.endswith("another one would begin from the state that was kept last.")
    keeper(store, reporter).bring_back(tmp_path / "back")
    assert json.loads((tmp_path / "back" / PASSES / "1" / PROGRESS_FILE).read_text())["blocks"] == 1


def test_a_store_that_cannot_be_read_is_told_and_the_job_begins_afresh(tmp_path: Path) -> None:
    reporter = Heard()
    store = get_store(plan_of({"in": "directory", "path": "kept"}, tmp_path).state)
    assert store is not None
    store.check()
    (tmp_path / "kept" / JOB).write_text("a file in its place", encoding="utf-8")
    one = keeper(store, reporter)
    one.bring_back(tmp_path / "back")
    one.remove()
    assert "begins afresh: its state cannot be brought back" in reporter.warnings[0]
    assert "stays in" in reporter.warnings[1]
