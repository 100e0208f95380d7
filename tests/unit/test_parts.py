"""A repository of several checkpoints in a folder: what lies where, what stays, and what `verify` finds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.card.front import metadata_of
from quantize_lib.card.shared import Part, shared_card
from quantize_lib.card.state import card_state
from quantize_lib.cli import main
from quantize_lib.errors import CheckpointError, PublishError
from quantize_lib.files import read_json
from quantize_lib.parts import parts_in, place_in
from quantize_lib.publish.directory.publisher import DirectoryPublisher
from quantize_lib.report.records import RECORD_FILE
from quantize_lib.targets import publish_spec
from quantize_lib.verification.places import LocalPlace
from quantize_lib.verification.verify import verify
from tests.support.publications import ONE, PARTS, THREE, TWO, checkpoint, part

CARD = "---\nlicense: mit\n---\n\n# Own\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Q8_0 and Q4_0; what they were published from is gone."""
    for kind, fingerprint in (("Q8_0", ONE), ("Q4_0", TWO)):
        publish(tmp_path, part(tmp_path / kind, kind, fingerprint), kind, fingerprint)
        shutil.rmtree(tmp_path / kind)
    return tmp_path / "out" / PARTS


def publish(folder: Path, made: Path, kind: str, fingerprint: str) -> None:
    publisher = DirectoryPublisher(publish_spec("directory", path=folder / "out"))
    publisher.publish(made, PARTS, part=kind, fingerprint=fingerprint, message="m")


def lies(repository: Path) -> dict[str, bytes]:
    found = (path for path in repository.rglob("*") if path.is_file())
    return {path.relative_to(repository).as_posix(): path.read_bytes() for path in found}


def test_weights_lie_at_the_top_and_the_rest_in_a_folder_of_the_parts_name() -> None:
    names = ["tiny-Q8_0.gguf", "config.json", "additional_chat_templates/x.jinja"]
    assert [place_in("Q8_0", name) for name in names] == [names[0], *(f"Q8_0/{name}" for name in names[1:])]
    assert [place_in("", name) for name in names] == names
    held = [RECORD_FILE, f"b/{RECORD_FILE}", f"a/{RECORD_FILE}", f"a/c/{RECORD_FILE}", "d/config.json"]
    assert parts_in(held, ["b", "d", "a"]) == ("a", "b")
    assert parts_in(held, []) == ()


def test_a_folder_of_repositories_is_no_repository_of_parts(tmp_path: Path) -> None:
    publisher = DirectoryPublisher(publish_spec("directory", path=tmp_path / "out"))
    alone = checkpoint(tmp_path / "alone", ONE)
    publisher.publish(alone, "acme/m", fingerprint=ONE, message="m")
    with pytest.raises(PublishError, match="was not published by this tool"):
        publisher.publish(
            part(tmp_path / "p", "Q8_0", TWO), "acme", part="Q8_0", fingerprint=TWO, message="m"
        )
    assert lies(tmp_path / "out" / "acme" / "m") == lies(alone)
    with pytest.raises(CheckpointError, match="was not made by this tool"):
        verify(LocalPlace(tmp_path / "out" / "acme"))
    assert LocalPlace(tmp_path / "out" / "acme").parts(tmp_path) == ()


def test_a_newer_type_leaves_the_files_of_the_others_as_they_are(repository: Path, tmp_path: Path) -> None:
    before = lies(repository)
    notes = "<!-- model-quantizer: keep notes -->\nBy hand.\n<!-- model-quantizer: end notes -->"
    (repository / "README.md").write_text(f"{(repository / 'README.md').read_text()}\n{notes}\n")
    publish(tmp_path, part(tmp_path / "new", "Q8_0", THREE), "Q8_0", THREE)
    now = lies(repository)
    assert now.keys() == before.keys()
    assert {name for name in now if now[name] != before[name]} == {
        *("README.md", "tiny-Q8_0.gguf", "Q8_0/README.md", f"Q8_0/{RECORD_FILE}")
    }
    card = now["README.md"].decode()
    assert notes in card
    state = card_state(metadata_of(card))
    assert state is not None
    assert {name: one.fingerprint for name, one in state.parts.items()} == {"Q8_0": THREE, "Q4_0": TWO}


def test_a_part_that_is_called_by_its_target_is_known_again(repository: Path, tmp_path: Path) -> None:
    name = "auto-4.5bit"
    publish(tmp_path, part(tmp_path / "new", name, THREE), name, THREE)
    publisher = DirectoryPublisher(publish_spec("directory", path=tmp_path / "out"))
    for one, fingerprint in ((name, THREE), ("Q4_0", TWO)):
        state = publisher.current(PARTS, one)
        assert state is not None
        assert state.fingerprint == fingerprint
    card = card_state(metadata_of((repository / "README.md").read_text(encoding="utf-8")))
    assert card is not None
    assert set(card.parts) == {"Q4_0", "Q8_0", name}


def test_a_type_that_cannot_be_published_leaves_all_as_they_are(repository: Path, tmp_path: Path) -> None:
    before = lies(repository)
    made = part(tmp_path / "new", "Q8_0", THREE)
    (made / "tokenizer.json").write_text("changed")
    with pytest.raises(PublishError, match=r"tokenizer\.json was changed"):
        publish(tmp_path, made, "Q8_0", THREE)
    assert lies(repository) == before
    assert not [path for path in (tmp_path / "out" / ".publishing").iterdir() if path.suffix != ".lock"]


def test_a_damaged_report_of_another_type_loses_nothing_and_its_type_can_be_published_again(
    repository: Path, tmp_path: Path
) -> None:
    (repository / "Q4_0" / RECORD_FILE).write_text("{")
    before = lies(repository)
    made = part(tmp_path / "new", "Q8_0", THREE)
    with pytest.raises(PublishError, match="is damaged") as caught:
        publish(tmp_path, made, "Q8_0", THREE)
    assert caught.value.hint == "Publish Q4_0 again first, or remove that folder."
    assert lies(repository) == before
    publish(tmp_path, part(tmp_path / "again", "Q4_0", TWO), "Q4_0", TWO)
    publish(tmp_path, made, "Q8_0", THREE)
    assert {"tiny-Q4_0.gguf", "tiny-Q8_0.gguf"} <= lies(repository).keys()


def test_a_report_of_another_type_that_names_files_elsewhere_brings_none_of_them(
    repository: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.gguf"
    secret.write_text("x")
    record = read_json(repository / "Q4_0" / RECORD_FILE)
    for name in ("../../../secret.gguf", str(secret), "missing.gguf"):
        record["files"][name] = "a" * 64
    (repository / "Q4_0" / RECORD_FILE).write_text(json.dumps(record))
    (repository / "Q4_0" / "link.txt").symlink_to(secret)
    publish(tmp_path, part(tmp_path / "new", "Q8_0", THREE), "Q8_0", THREE)
    assert not [name for name, data in lies(repository).items() if data == b"x"]
    assert {"tiny-Q4_0.gguf", "Q4_0/config.json"} <= lies(repository).keys()


def test_one_checkpoint_and_several_take_each_others_place(repository: Path, tmp_path: Path) -> None:
    publisher = DirectoryPublisher(publish_spec("directory", path=tmp_path / "out"))
    alone = checkpoint(tmp_path / "alone", THREE)
    publisher.publish(alone, PARTS, fingerprint=THREE, message="m")
    assert lies(repository) == lies(alone)
    assert publisher.current(PARTS, "Q8_0") is None
    publish(tmp_path, part(tmp_path / "new", "Q8_0", ONE), "Q8_0", ONE)
    assert {name.partition("/")[0] for name in lies(repository)} == {"README.md", "tiny-Q8_0.gguf", "Q8_0"}


@pytest.mark.parametrize("record", [
    {"files": ["a"], "fingerprint": 1, "versions": 3, "inputs": [], "choice": {}},
    {"files": {"|<b>`x`.gguf": "0"}, "fingerprint": "x", "versions": {"model-quantizer": "1\n2"}},
])  # fmt: skip
def test_a_report_that_is_none_of_ours_is_a_row_without_figures(record: dict[str, Any]) -> None:
    text = shared_card("acme/m", [Part(name="a b|`", record=record)], CARD)
    row = next(line for line in text.splitlines() if line.startswith("| <code>a b"))
    assert row.endswith("[card](a%20b%7C%60/README.md) |")
    assert "<b>" not in text.partition("\n---\n")[2].partition("## Use")[0]
    state = card_state(metadata_of(text))
    assert state is not None
    # The name is none that this tool gives.
    assert state.parts == {}


def test_figures_of_different_texts_and_revisions_are_said_to_be_so(repository: Path) -> None:
    records = {kind: read_json(repository / kind / RECORD_FILE) for kind in ("Q8_0", "Q4_0")}
    told = ("different texts", "different revisions")
    card = shared_card("m", [Part(name=kind, record=record) for kind, record in records.items()], CARD)
    assert not [words for words in told if words in card]
    records["Q4_0"]["revision"] = "b" * 40
    records["Q4_0"]["evaluation"]["tokens_digest"] = "d" * 64
    card = shared_card("m", [Part(name=kind, record=record) for kind, record in records.items()], CARD)
    assert [words for words in told if words in card] == list(told)
    assert "llama-cli -m tiny-Q8_0.gguf -p " in card


def test_each_part_is_verified_with_what_is_its_own(repository: Path, tmp_path: Path) -> None:
    place = LocalPlace(repository)
    for one, kind in zip(place.parts(tmp_path / "scratch"), ("Q4_0", "Q8_0"), strict=True):
        assert one.label == f"{kind} in {repository}"
        found = {finding.check: finding for finding in verify(one).findings}
        assert found["files"].text == "4 files are as recorded"
        assert found["report"].text.startswith(f"gguf at {kind}, of ")
        folder = one.bring([f"tiny-{kind}.gguf", "config.json"])
        assert {path.name for path in folder.iterdir()} == {f"tiny-{kind}.gguf", "config.json"}
        assert all(path.read_bytes() for path in folder.iterdir())
    assert LocalPlace(repository / "Q8_0").parts(tmp_path) == ()


@pytest.mark.parametrize(("name", "told"), [
    ("tiny-Q8_0.gguf", "files        failed: tiny-Q8_0.gguf was changed"),
    ("Q8_0/config.json", "files        failed: config.json was changed"),
    ("other.gguf", "files        failed: other.gguf is not part of any"),
    ("Q8_0/model.safetensors", "files        failed: Q8_0/model.safetensors is not part of any"),
    ("Q8_0/tiny-Q8_0.gguf", "files        failed: Q8_0/tiny-Q8_0.gguf is not part of any"),
    ("Q8_0/modeling.py", "files        failed: modeling.py is not part of it"),
])  # fmt: skip
def test_verify_finds_what_is_wrong_in_one_of_them(
    name: str, told: str, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(repository)]) == 0
    assert "files        ok: all belong to one of them" in capsys.readouterr().out
    path = repository / name
    path.write_bytes((path.read_bytes() if path.exists() else b"") + b"x")
    assert main(["verify", str(repository)]) == 3
    out = capsys.readouterr().out
    assert [line.strip() for line in out.splitlines() if " failed: " in line and "files" in line] == [told]
