"""Taking a publication back: the one before it is there again, and the bad one does not return by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from quantize_lib.errors import PublishError
from quantize_lib.hub.retry import Retry
from quantize_lib.publish.base import Published
from quantize_lib.publish.hub.publisher import HubPublisher
from quantize_lib.report.records import RECORD_FILE
from quantize_lib.targets import publish_spec
from tests.support.hub import Hub, Request
from tests.support.publications import NAME, NOTES, ONE, THREE, TWO, checkpoint, met


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with met(monkeypatch) as server:
        yield server


@pytest.fixture
def publisher() -> HubPublisher:
    return HubPublisher(publish_spec("hub"), retry=Retry(attempts=3, sleep=lambda _: None))


@pytest.fixture
def folders(hub: Hub, publisher: HubPublisher, tmp_path: Path) -> dict[str, Path]:
    """ONE was published, then TWO, which lost a file and has another."""
    made = {
        ONE: checkpoint(tmp_path / "one", ONE, {"merges.txt": "a b", "vocab.txt": "a"}),
        TWO: checkpoint(tmp_path / "two", TWO, {"vocab.txt": "b", "added_tokens.json": "{}"}),
    }
    for fingerprint, folder in made.items():
        publish(publisher, folder, fingerprint)
    assert hub.model(NAME).titles == ["m", "m", "initial commit"]
    return made


def publish(publisher: HubPublisher, folder: Path, fingerprint: str, *, force: bool = False) -> Published:
    return publisher.publish(folder, NAME, fingerprint=fingerprint, message="m", force=force)


def visible(hub: Hub) -> dict[str, bytes]:
    return {name: data for name, data in hub.model(NAME).files.items() if name != ".gitattributes"}


def test_the_publication_before_is_back_by_one_commit(
    hub: Hub, publisher: HubPublisher, folders: dict[str, Path]
) -> None:
    before = hub.model(NAME).head
    done = publisher.rollback(NAME)
    repository = hub.model(NAME)
    assert done == Published(commit=repository.head)
    assert repository.commits[repository.head].parent == before
    assert repository.titles[0].startswith("Go back to ")
    now = visible(hub)
    files = {path.name: path.read_bytes() for path in folders[ONE].iterdir()}
    assert now.keys() == files.keys()
    own = {"README.md", RECORD_FILE}
    assert {name: now[name] for name in now.keys() - own} == {
        name: files[name] for name in files.keys() - own
    }


@pytest.mark.usefixtures("folders")
def test_the_card_says_what_was_taken_back_and_the_record_is_true(hub: Hub, publisher: HubPublisher) -> None:
    done = publisher.rollback(NAME)
    state = publisher.current(NAME)
    assert state is not None
    assert (state.fingerprint, state.commit, state.rejected) == (ONE, done.commit, (TWO,))
    now = visible(hub)
    recorded = json.loads(now[RECORD_FILE])["files"]
    assert recorded == {name: sha256(data).hexdigest() for name, data in now.items() if name != RECORD_FILE}


def test_what_was_taken_back_is_not_published_again_unless_forced(
    hub: Hub, publisher: HubPublisher, folders: dict[str, Path]
) -> None:
    publisher.rollback(NAME)
    before = hub.model(NAME).head
    with pytest.raises(PublishError, match="was taken back by a rollback") as caught:
        publish(publisher, folders[TWO], TWO)
    assert "--force" in str(caught.value)
    assert hub.model(NAME).head == before
    publish(publisher, folders[TWO], TWO, force=True)
    state = publisher.current(NAME)
    assert state is not None
    assert (state.fingerprint, state.rejected) == (TWO, ())


def test_a_better_publication_follows_and_the_next_rollback_goes_over_the_bad_one(
    hub: Hub, publisher: HubPublisher, folders: dict[str, Path], tmp_path: Path
) -> None:
    publisher.rollback(NAME)
    publish(publisher, checkpoint(tmp_path / "three", THREE), THREE)
    state = publisher.current(NAME)
    assert state is not None
    assert state.rejected == (TWO,)
    publisher.rollback(NAME)
    state = publisher.current(NAME)
    assert state is not None
    assert (state.fingerprint, state.rejected) == (ONE, (TWO, THREE))
    assert visible(hub)["config.json"] == (folders[ONE] / "config.json").read_bytes()


@pytest.mark.usefixtures("folders")
def test_there_is_nothing_before_the_first_publication(hub: Hub, publisher: HubPublisher) -> None:
    publisher.rollback(NAME)
    before = hub.model(NAME).head
    with pytest.raises(PublishError, match="no earlier good publication"):
        publisher.rollback(NAME)
    assert hub.model(NAME).head == before


@pytest.mark.parametrize("theirs", [None, {"config.json": b"{}", "README.md": b"---\nlicense: mit\n---\n"}])
def test_a_repository_that_is_not_ours_is_left_alone(
    hub: Hub, publisher: HubPublisher, theirs: dict[str, bytes] | None
) -> None:
    if theirs is not None:
        hub.add_model(NAME, theirs)
    with pytest.raises(PublishError, match="holds nothing on the Hub that this tool published"):
        publisher.rollback(NAME)


@pytest.mark.usefixtures("folders")
def test_a_persons_files_and_sections_stay_as_they_are_now(hub: Hub, publisher: HubPublisher) -> None:
    card = visible(hub)["README.md"].decode()
    hub.model(NAME).add_files({"README.md": f"{card}\n{NOTES}\n".encode(), "picture.png": b"png"})
    publisher.rollback(NAME)
    now = visible(hub)
    assert now["picture.png"] == b"png"
    assert now["README.md"].decode().count(NOTES) == 1
    assert "# Tiny a1" in now["README.md"].decode()
    publisher_state = publisher.current(NAME)
    assert publisher_state is not None
    assert publisher_state.fingerprint == ONE


@pytest.mark.usefixtures("folders")
def test_a_commit_that_is_not_what_its_record_says_is_not_gone_back_to(
    hub: Hub, publisher: HubPublisher, tmp_path: Path
) -> None:
    broken = hub.model(NAME)
    record = checkpoint(tmp_path / "three", THREE)
    files = {path.name: path.read_bytes() for path in record.iterdir()} | {"config.json": b"{}"}
    two = visible(hub)
    broken.add_files(files)
    broken.add_files(two, replace=True)
    publisher.rollback(NAME)
    state = publisher.current(NAME)
    assert state is not None
    assert state.fingerprint == ONE


@pytest.mark.usefixtures("folders")
def test_a_lost_answer_is_found_and_nothing_is_taken_back_twice(hub: Hub, publisher: HubPublisher) -> None:
    hub.fail("lost", route="create_commit")
    done = publisher.rollback(NAME)
    assert done.commit == hub.model(NAME).head
    assert len(hub.model(NAME).titles) == 4
    state = publisher.current(NAME)
    assert state is not None
    assert state.rejected == (TWO,)


@pytest.mark.parametrize("kind", ["drop", "status", "cut"])
@pytest.mark.usefixtures("folders")
def test_a_passing_fault_of_the_commit_is_tried_again(hub: Hub, publisher: HubPublisher, kind: str) -> None:
    hub.fail(kind, route="create_commit")  # type: ignore[arg-type]
    publisher.rollback(NAME)
    assert len(hub.model(NAME).titles) == 4


@pytest.mark.usefixtures("folders")
def test_what_somebody_publishes_meanwhile_is_not_taken_back(
    hub: Hub, publisher: HubPublisher, tmp_path: Path
) -> None:
    new = checkpoint(tmp_path / "three", THREE)
    left = [True]

    def when(_: Request) -> bool:
        if left and left.pop():
            hub.model(NAME).add_files({path.name: path.read_bytes() for path in new.iterdir()})
        return False

    hub.fail("status", route="create_commit", when=when, times=None)
    with pytest.raises(PublishError, match="something else was published meanwhile"):
        publisher.rollback(NAME)
    state = publisher.current(NAME)
    assert state is not None
    assert state.fingerprint == THREE
