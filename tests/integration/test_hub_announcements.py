"""One discussion, or one comment, says what a new revision changed; without it nothing is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.host.finish import publish_checkpoint
from quantize_lib.hub.retry import Retry
from quantize_lib.publish.base import Published
from quantize_lib.publish.hub.publisher import HubPublisher
from quantize_lib.report.records import RECORD_FILE
from quantize_lib.targets import publish_spec
from tests.support.hub import Hub
from tests.support.publications import NAME, ONE, TWO, checkpoint, met
from tests.support.quantizing import Silent
from tests.support.recorded import recorded_checkpoint
from tests.support.records import RECORD


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with met(monkeypatch) as server:
        yield server


class Warnings(Silent):
    """Keeps what it is warned of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, message: str) -> None:
        self.warnings.append(message)


def publisher(**options: Any) -> HubPublisher:
    spec = publish_spec("hub", **{"discussion": True, **options})
    return HubPublisher(spec, retry=Retry(attempts=2, sleep=lambda _: None))


def publish(folder: Path, fingerprint: str, weights: bytes = b"one", **options: Any) -> Published:
    if not folder.exists():
        recorded_checkpoint(folder, fingerprint=fingerprint, weights=weights)
    return publisher(**options).publish(folder, NAME, fingerprint=fingerprint, message="m")


def told(hub: Hub) -> list[tuple[str, list[str]]]:
    """Title and texts of every discussion and pull request."""
    return [
        (one.title, [event["data"]["latest"]["raw"] for event in one.events if event["type"] == "comment"])
        for one in hub.model(NAME).discussions
    ]


def test_a_first_publication_is_not_told_and_a_new_revision_once(hub: Hub, tmp_path: Path) -> None:
    publish(tmp_path / "one", ONE)
    assert told(hub) == []
    done = publish(tmp_path / "two", TWO, b"longer")
    assert done.notes == ()
    ((title, (text,)),) = told(hub)
    assert title == f"What changed in {done.commit[:12]}"
    assert "| Weights on disk | 3 B | 6 B |" in text
    assert publish(tmp_path / "two", TWO).commit == done.commit
    assert len(told(hub)) == 1


def test_nothing_is_said_or_asked_where_nobody_wants_it(hub: Hub, tmp_path: Path) -> None:
    publish(tmp_path / "one", ONE, discussion=False)
    publish(tmp_path / "two", TWO, b"two", discussion=False)
    assert told(hub) == []
    assert not hub.asked("list_discussions")


def test_the_same_checkpoint_with_another_card_is_no_news(hub: Hub, tmp_path: Path) -> None:
    publish(tmp_path / "one", ONE)
    publish(tmp_path / "two", TWO)
    assert told(hub) == []


def test_a_pull_request_gets_it_as_a_comment(hub: Hub, tmp_path: Path) -> None:
    publish(tmp_path / "one", ONE)
    done = publish(tmp_path / "two", TWO, b"two", pull_request=True)
    assert done.proposal is not None
    ((title, (_, text)),) = told(hub)
    assert title.startswith("m ")
    assert text.startswith("This revision replaces")
    # It waits already: nothing more is said.
    publish(tmp_path / "two", TWO, pull_request=True)
    assert len(told(hub)[0][1]) == 2


def test_a_lost_answer_makes_no_second_discussion(hub: Hub, tmp_path: Path) -> None:
    publish(tmp_path / "one", ONE)
    hub.fail("lost", route="create_discussion")
    publish(tmp_path / "two", TWO, b"two")
    assert len(told(hub)) == 1


def test_a_commit_whose_answer_was_lost_is_told_all_the_same(hub: Hub, tmp_path: Path) -> None:
    publish(tmp_path / "one", ONE)
    hub.fail("lost", route="create_commit")
    publish(tmp_path / "two", TWO, b"two")
    assert len(told(hub)) == 1


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_discussion_that_fails_is_a_warning_and_undoes_nothing(
    hub: Hub, tmp_path: Path, status: int
) -> None:
    publish(tmp_path / "one", ONE)
    hub.fail("status", route="create_discussion", status=status, times=None)
    recorded_checkpoint(tmp_path / "out" / "cell", fingerprint=TWO, weights=b"two")
    record = replace(RECORD, path="cell", repository=NAME, fingerprint=TWO, commit=None, notes=())
    reporter = Warnings()
    done = publish_checkpoint(publisher(), tmp_path / "out", record, reporter)
    assert (done.status, done.commit) == ("published", hub.model(NAME).head)
    (note,) = done.notes
    assert note.startswith("nobody was told what this revision changed: ")
    assert reporter.warnings == [f"{record.id}: {note}"]


def test_what_was_published_by_something_else_is_not_compared(hub: Hub, tmp_path: Path) -> None:
    publisher(discussion=False).publish(checkpoint(tmp_path / "old", ONE), NAME, fingerprint=ONE, message="m")
    done = publish(tmp_path / "two", TWO, b"two")
    assert done.notes == ("the revision before has no report that this version reads: nobody was told",)
    assert RECORD_FILE in hub.model(NAME).files
