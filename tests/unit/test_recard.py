"""A finished checkpoint's card: written anew where it is to say something else, left where it is by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.card import render_card
from quantize_lib.card.front import metadata_of, with_metadata
from quantize_lib.errors import PublishError
from quantize_lib.files import read_json, sha256_file, write_json
from quantize_lib.host.recard import adopted, files_as_they_lie, recarded
from quantize_lib.methods.settings import Settings
from quantize_lib.plan.cells import Cell, EvaluateSpec, Job
from quantize_lib.publish.verify import recorded_files, verify_checkpoint
from quantize_lib.report import checkpoint_record, record_from_json
from quantize_lib.report.records import RECORD_FILE, CellRecord
from quantize_lib.source.base_card import BaseCard, parse_card
from quantize_lib.source.facts import ModelFacts, ModelSource, Terms
from quantize_lib.source.model_spec import ModelSpec
from tests.support.records import RECORD

CARD = "README.md"
CELL = Cell(id=RECORD.id, settings=Settings(method="gptq", bits=4), repository=str(RECORD.repository))
JOB = Job(
    id="job",
    model=ModelSpec(id="./mine", name="mine", local=Path("mine")),
    device="cpu",
    calibration=TextSpec(),
    evaluate=EvaluateSpec(),
    cells=(CELL,),
)
CONFIG = {"architectures": ["LlamaForCausalLM"]}
COMMAND = "model-quantizer run quantize.yml"


def base(metadata: str) -> BaseCard:
    return parse_card(f"---\n{metadata}\n---\n".encode())


MIT = base("license: mit\nlanguage: en")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished checkpoint of a base model whose card says MIT and English."""
    write_json(tmp_path / "config.json", CONFIG)
    facts = ModelFacts(
        config=CONFIG, tensors={}, layers=(), revision="", weight_bytes=0, download_bytes=0, card=MIT.fields
    )
    source = ModelSource(folder=tmp_path, facts=facts, card=MIT.fields)
    record = replace(RECORD, terms=Terms(license="mit"), status="built")
    text = render_card(record, source=source, cell=CELL, job=JOB, command=COMMAND)
    (tmp_path / CARD).write_text(text, encoding="utf-8")
    files = {name: sha256_file(tmp_path / name) for name in (CARD, "config.json")}
    write_json(tmp_path / RECORD_FILE, checkpoint_record(replace(record, files=files)))
    return tmp_path


def record_of(folder: Path) -> CellRecord:
    """As the next run reads it."""
    data = read_json(folder / RECORD_FILE)
    more = {"status": "built", "error": None, "path": RECORD.id, "commit": None}
    return record_from_json({**data, **more})


def again(folder: Path, card: BaseCard = MIT, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The metadata after a run; the checkpoint is what its record says."""
    record = record_of(folder)
    found = recarded(folder, record, base=card, cell=CELL, job=JOB, command=COMMAND, given=given or {})
    verify_checkpoint(folder, recorded_files(folder, str(RECORD.fingerprint)))
    assert record_of(folder).files == found.files
    return metadata_of((folder / CARD).read_text(encoding="utf-8"))


def correct(folder: Path, old: str, new: str) -> None:
    """As a person does it in an editor."""
    text = (folder / CARD).read_text(encoding="utf-8")
    assert old in text
    (folder / CARD).write_text(text.replace(old, new), encoding="utf-8")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_card_that_says_what_is_so_stays_as_it_is_to_the_byte(folder: Path) -> None:
    before = content(folder)
    again(folder)
    again(folder, given={"license": "mit"})
    assert content(folder) == before
    record = record_of(folder)
    found = recarded(folder, record, base=MIT, cell=CELL, job=JOB, command="another", given={})
    assert (content(folder), found) == (before, record)


def test_a_mended_base_card_reaches_the_finished_card(folder: Path) -> None:
    said = again(folder, base("license: apache-2.0\nlanguage: [en, no]"))
    assert (said["license"], said["language"]) == ("apache-2.0", ["en", "no"])
    assert "base model's: apache-2.0" in (folder / CARD).read_text()


def test_what_the_manifest_says_reaches_the_finished_card_and_goes_again(folder: Path) -> None:
    before = content(folder)
    given = {
        "license": "other",
        "license_name": "acme-1.0",
        "license_link": "https://x.example",
        "tags": ["a"],
    }
    said = again(folder, given=given)
    assert {key: said[key] for key in list(given)[:3]} == {key: given[key] for key in list(given)[:3]}
    assert said["tags"][-1] == "a"
    again(folder)
    assert content(folder) == before


def test_notes_on_the_base_card_follow_it(folder: Path) -> None:
    again(folder, base("license: mit\nlanguage: [de, 7]"))
    noted = record_of(folder).notes
    assert noted == (*base("language: [de, 7]").notes, *RECORD.notes)
    assert "without" in (folder / CARD).read_text()
    again(folder)
    assert record_of(folder).notes == RECORD.notes


def test_a_licence_that_wants_a_notice_gets_it_in_a_finished_checkpoint(folder: Path) -> None:
    again(folder, given={"license": "gemma"})
    assert "Gemma" in (folder / "NOTICE").read_text()
    assert record_of(folder).terms == Terms(license="gemma")


def test_a_card_that_a_person_corrected_stays_theirs(folder: Path) -> None:
    correct(folder, "license: mit\n", "license: apache-2.0 # asked the authors\n1: one\nnull: 2\n")
    correct(folder, "# ", "# My ")
    text = (folder / CARD).read_bytes()
    for _ in range(2):
        assert again(folder, base("license: wtfpl"))["license"] == "apache-2.0"
        assert (folder / CARD).read_bytes() == text
    assert record_of(folder).card_by_hand


def test_the_manifest_goes_before_a_persons_card_in_what_it_names(folder: Path) -> None:
    correct(
        folder,
        "license: mit\n",
        "license: other\nlicense_name: x\nlicense_link: LICENSE\nlanguage_bcp47: [en-US]\n",
    )
    said = again(folder, given={"license": "mit", "language": ["no"]})
    assert (said["license"], said["language"], said["language_bcp47"]) == ("mit", ["no"], ["en-US"])
    assert "license_name" not in said
    assert "license_link" not in said


def test_a_card_that_was_removed_is_written_anew_and_is_no_persons(folder: Path) -> None:
    before = content(folder)
    correct(folder, "# ", "# My ")
    again(folder)
    (folder / CARD).unlink()
    assert again(folder)["license"] == "mit"
    assert content(folder) == before


def test_a_run_that_ended_between_card_and_record_leaves_no_persons_card(folder: Path) -> None:
    record = (folder / RECORD_FILE).read_bytes()
    again(folder, given={"license": "wtfpl"})
    (folder / RECORD_FILE).write_bytes(record)
    again(folder, given={"license": "wtfpl"})
    assert not record_of(folder).card_by_hand


def test_a_corrected_card_is_adopted_with_the_key_that_tells_whose_it_is(folder: Path) -> None:
    (folder / CARD).write_text("# Mine\n", encoding="utf-8")
    found = adopted(folder, record_of(folder))
    verify_checkpoint(folder, recorded_files(folder, str(RECORD.fingerprint)))
    text = (folder / CARD).read_text(encoding="utf-8")
    assert text.endswith("---\n\n# Mine\n")
    assert metadata_of(text)["model_quantizer"]["fingerprint"] == RECORD.fingerprint
    assert found.card_by_hand
    assert adopted(folder, found) == found


@pytest.mark.parametrize("data", [b"---\nlicense: [mit\n---\n", b"---\n- a\n---\n", b"\xff\xfe#\x00"])
def test_a_card_that_cannot_be_read_is_an_error_that_names_it(folder: Path, data: bytes) -> None:
    (folder / CARD).write_bytes(data)
    before = content(folder)
    for act in (lambda: adopted(folder, record_of(folder)), lambda: again(folder)):
        with pytest.raises(PublishError, match=CARD):
            act()
    assert content(folder) == before


def test_only_the_card_may_be_another_file_than_was_recorded(folder: Path) -> None:
    correct(folder, "# ", "# My ")
    files = record_of(folder).files
    verify_checkpoint(folder, files_as_they_lie(folder, files))
    write_json(folder / "config.json", {})
    with pytest.raises(PublishError, match=r"config\.json was changed"):
        verify_checkpoint(folder, files_as_they_lie(folder, files))
    (folder / CARD).unlink()
    (folder / CARD).symlink_to(folder / "config.json")
    with pytest.raises(PublishError, match="a symbolic link"):
        verify_checkpoint(folder, files_as_they_lie(folder, files))


@pytest.mark.parametrize(
    ("card", "values", "changed"),
    [
        ("---\na: 1\nb:\n- x\n# c\nd: 2\n---\nbody\n", {"b": None}, "---\na: 1\nd: 2\n---\nbody\n"),
        ("---\na: 1\n---\nbody\n---\n", {"a": ["no"]}, "---\na:\n- 'no'\n---\nbody\n---\n"),
        ("body\n", {"a": "b"}, "---\na: b\n---\n\nbody\n"),
        ("---\n---\n", {"a": "b"}, "---\na: b\n---\n"),
        ("---\nlanguage: [en, no] # ours\n---\n", {"a": "b"}, "---\nlanguage: [en, no] # ours\na: b\n---\n"),
    ],
)
def test_metadata_is_changed_without_touching_the_rest(card: str, values: Any, changed: str) -> None:
    assert with_metadata(card, values) == changed
