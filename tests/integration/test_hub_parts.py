"""A repository on the Hub that holds several checkpoints: what lies where, and what its card says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from quantize_lib.card.front import metadata_of
from quantize_lib.errors import PublishError
from quantize_lib.hub.retry import Retry
from quantize_lib.publish.base import Published
from quantize_lib.publish.hub.publisher import HubPublisher
from quantize_lib.report.records import RECORD_FILE
from quantize_lib.targets import publish_spec
from tests.support.hub import Hub
from tests.support.publications import NOTES, ONE, PARTS, THREE, TWO, checkpoint, met, part

IN_A_FOLDER = ("README.md", "config.json", RECORD_FILE, "tokenizer.json")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with met(monkeypatch) as server:
        yield server


@pytest.fixture
def publisher(hub: Hub) -> HubPublisher:  # noqa: ARG001 - it is met as long as that stands
    return HubPublisher(publish_spec("hub", discussion=True), retry=Retry(attempts=3, sleep=lambda _: None))


def publish(publisher: HubPublisher, folder: Path, fingerprint: str, kind: str) -> Published:
    return publisher.publish(folder, PARTS, part=kind, fingerprint=fingerprint, message="m")


@pytest.fixture
def folders(publisher: HubPublisher, tmp_path: Path) -> dict[str, Path]:
    """Q8_0 was published, then Q4_0."""
    made = {
        "Q8_0": part(tmp_path / "one", "Q8_0", ONE),
        "Q4_0": part(tmp_path / "two", "Q4_0", TWO),
    }
    publish(publisher, made["Q8_0"], ONE, "Q8_0")
    assert publish(publisher, made["Q4_0"], TWO, "Q4_0").replaced is None
    return made


def names(hub: Hub) -> set[str]:
    return {name for name in hub.model(PARTS).files if name != ".gitattributes"}


def card(hub: Hub) -> str:
    return hub.model(PARTS).files["README.md"].decode()


def test_weights_lie_at_the_top_and_each_checkpoints_own_files_in_its_folder(
    hub: Hub, folders: dict[str, Path]
) -> None:
    assert names(hub) == {
        "README.md",
        *("tiny-Q8_0.gguf", "tiny-Q4_0.gguf"),
        *(f"{kind}/{name}" for kind in folders for name in IN_A_FOLDER),
    }
    files = hub.model(PARTS).files
    for kind, folder in folders.items():
        assert files[f"tiny-{kind}.gguf"] == (folder / f"tiny-{kind}.gguf").read_bytes()
        for name in IN_A_FOLDER:
            assert files[f"{kind}/{name}"] == (folder / name).read_bytes()


@pytest.mark.usefixtures("folders")
def test_the_card_at_the_top_is_of_all_types(hub: Hub) -> None:
    text = card(hub)
    data = metadata_of(text)
    assert data["license"] == "mit"
    assert data["tags"] == ["gguf", "quantized"]
    parts = data["model_quantizer"]["parts"]
    assert {kind: (state["fingerprint"], state["weights"]) for kind, state in parts.items()} == {
        "Q4_0": (TWO, ["tiny-Q4_0.gguf"]),
        "Q8_0": (ONE, ["tiny-Q8_0.gguf"]),
    }
    for kind in parts:
        assert f"llama-cli -hf acme/tiny-gguf:{kind} -p " in text
        assert f"ollama run hf.co/acme/tiny-gguf:{kind}" in text
        assert f"[card]({kind}/README.md) |" in text


def test_a_newer_checkpoint_takes_the_place_of_its_own_type_alone(
    hub: Hub, publisher: HubPublisher, folders: dict[str, Path], tmp_path: Path
) -> None:
    repository = hub.model(PARTS)
    repository.add_files({"README.md": f"{card(hub)}\n{NOTES}\n".encode(), "notes.md": b"x"})
    before = dict(repository.files)
    done = publish(publisher, part(tmp_path / "three", "Q8_0", THREE), THREE, "Q8_0")
    assert done.replaced is not None
    now = repository.files
    assert {name for name in now if now[name] != before.get(name)} == {
        *("README.md", "tiny-Q8_0.gguf", "Q8_0/README.md", f"Q8_0/{RECORD_FILE}")
    }
    assert NOTES in card(hub)
    assert json.loads(now[f"Q4_0/{RECORD_FILE}"])["fingerprint"] == TWO
    # The discussion is of that type.
    assert [one.title for one in repository.discussions] == [f"What changed in {done.commit[:12]}"]
    head = repository.head
    publish(publisher, folders["Q4_0"], TWO, "Q4_0")
    assert repository.head == head


def test_one_type_goes_back_and_the_others_stay(
    hub: Hub, publisher: HubPublisher, folders: dict[str, Path], tmp_path: Path
) -> None:
    before = {name: data for name, data in hub.model(PARTS).files.items() if name != "README.md"}
    three = part(tmp_path / "three", "Q8_0", THREE)
    publish(publisher, three, THREE, "Q8_0")
    publisher.rollback(PARTS, "Q8_0")
    now = hub.model(PARTS).files
    assert {name: data for name, data in now.items() if name != "README.md"} == before
    parts = metadata_of(card(hub))["model_quantizer"]["parts"]
    assert (parts["Q8_0"]["fingerprint"], parts["Q8_0"]["rejected"]) == (ONE, [THREE])
    assert "rejected" not in parts["Q4_0"]
    with pytest.raises(PublishError, match="was taken back by a rollback"):
        publish(publisher, three, THREE, "Q8_0")
    publish(publisher, part(tmp_path / "four", "Q4_0", "d4" * 32), "d4" * 32, "Q4_0")
    assert metadata_of(card(hub))["model_quantizer"]["parts"]["Q8_0"]["rejected"] == [THREE]
    with pytest.raises(PublishError, match="no earlier good publication"):
        publisher.rollback(PARTS, "Q8_0")
    assert folders


def test_a_type_whose_file_is_gone_is_not_believed_to_be_published(
    hub: Hub, publisher: HubPublisher, folders: dict[str, Path]
) -> None:
    left = {name: data for name, data in hub.model(PARTS).files.items() if name != "tiny-Q8_0.gguf"}
    hub.model(PARTS).add_files(left, replace=True)
    states = {kind: publisher.current(PARTS, kind) for kind in folders}
    assert {kind: state and state.fingerprint for kind, state in states.items()} == {
        "Q8_0": None,
        "Q4_0": TWO,
    }
    publish(publisher, folders["Q8_0"], ONE, "Q8_0")
    assert "tiny-Q8_0.gguf" in names(hub)


def test_a_checkpoint_that_has_the_repository_for_itself_takes_the_place_of_all_and_is_replaced(
    hub: Hub, publisher: HubPublisher, folders: dict[str, Path], tmp_path: Path
) -> None:
    alone = checkpoint(tmp_path / "alone", "e5" * 32)
    publisher.publish(alone, PARTS, fingerprint="e5" * 32, message="m")
    assert names(hub) == {path.name for path in alone.iterdir()}
    publish(publisher, folders["Q8_0"], ONE, "Q8_0")
    assert names(hub) == {"README.md", "tiny-Q8_0.gguf", *(f"Q8_0/{name}" for name in IN_A_FOLDER)}
