"""What `publish DIR` takes from the run's manifest and the base model's card, where they are there."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from quantize_lib.card.front import metadata_of
from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.files import sha256_file, write_json
from quantize_lib.host.manifest_cards import ManifestCards
from quantize_lib.report import checkpoint_record, read_manifest_path, write_report
from quantize_lib.report.records import RECORD_FILE, CellRecord
from quantize_lib.source import resolve
from quantize_lib.source.model_spec import ModelSpec
from tests.support.model_files import write_model
from tests.support.records import RECORD

CARD = "README.md"
CELL = "tiny-gptq-4bit"
NOW = datetime(2026, 11, 28, tzinfo=UTC)
OLD = "---\nlicense: other\n---\n\n# Old\n"


@pytest.fixture
def record(tmp_path: Path) -> CellRecord:
    """A checkpoint in `out`, made of the model in `tiny`, whose card says another licence than `tiny`'s."""
    write_model(tmp_path / "tiny")
    (tmp_path / "tiny" / CARD).write_text("---\nlicense: MIT\n---\n")
    folder = tmp_path / "out" / CELL
    folder.mkdir(parents=True)
    (folder / CARD).write_text(OLD)
    write_json(folder / "config.json", {"architectures": ["LlamaForCausalLM"]})
    model = resolve(ModelSpec(id="./tiny", name="tiny", local=tmp_path / "tiny"), token=None)
    files = {name: sha256_file(folder / name) for name in (CARD, "config.json")}
    made = replace(RECORD, id=CELL, path=CELL, model="./tiny", revision=model.revision, files=files)
    write_json(folder / RECORD_FILE, checkpoint_record(made))
    return made


def write_manifest(folder: Path, card: str = "{}", method: str = "gptq") -> Path:
    path = folder / "quantize.yml"
    path.write_text(
        f"version: 1\nmodels: [{{id: ./tiny, quantize: [{{method: {method}, bits: 4}}]}}]\n"
        f"publish: {{card: {card}}}\n"
    )
    return path


def brought_up(folder: Path, record: CellRecord, manifest: Path | None) -> tuple[str, str]:
    """The card, and what was said."""
    said = io.StringIO()
    cards = ManifestCards(manifest, folder / "out", lambda _: None, PlainReporter(said))
    found = cards.brought_up(folder / "out" / CELL, record)
    card = folder / "out" / CELL / CARD
    assert found.files[CARD] == sha256_file(card)
    assert json.loads((card.parent / RECORD_FILE).read_text())["files"][CARD] == found.files[CARD]
    return card.read_text(), said.getvalue()


def test_the_manifest_and_the_base_card_say_what_the_card_says(tmp_path: Path, record: CellRecord) -> None:
    card, _ = brought_up(tmp_path, record, write_manifest(tmp_path, "{language: English}"))
    assert {key: metadata_of(card)[key] for key in ("license", "language")} == {
        "license": "mit",
        "language": "en",
    }


@pytest.mark.parametrize("there", [None, "moved.yml", "other cells", "faulty"])
def test_without_a_manifest_that_has_the_cell_the_card_stays(
    tmp_path: Path, record: CellRecord, there: str | None
) -> None:
    manifest = tmp_path / there if there is not None else None
    if there == "other cells":
        manifest = write_manifest(tmp_path, method="awq")
    elif there == "faulty":
        manifest = write_manifest(tmp_path, "{license: No such}")
    card, said = brought_up(tmp_path, record, manifest)
    assert card == OLD
    assert ("`No such`" in said) == (there == "faulty")


def test_the_card_of_another_base_model_than_was_quantized_is_not_taken(
    tmp_path: Path, record: CellRecord
) -> None:
    (tmp_path / "tiny" / "generation_config.json").write_text("{}")
    card, said = brought_up(tmp_path, record, write_manifest(tmp_path))
    assert card == OLD
    assert "the base model is another by now" in said


def test_a_base_model_that_is_gone_leaves_the_card_as_it_is(tmp_path: Path, record: CellRecord) -> None:
    manifest = write_manifest(tmp_path)
    (tmp_path / "tiny" / "config.json").unlink()
    card, said = brought_up(tmp_path, record, manifest)
    assert card == OLD
    assert "the card stays as it is" in said


def test_a_report_says_where_its_manifest_lay_wherever_both_were_moved(tmp_path: Path) -> None:
    def written(folder: Path, manifest: Path | None) -> None:
        write_report(folder, [RECORD], started=NOW, finished=NOW, command="x", manifest=manifest)

    (tmp_path / "a" / "out").mkdir(parents=True)
    written(tmp_path / "a" / "out", tmp_path / "a" / "quantize.yml")
    (tmp_path / "a").rename(tmp_path / "b")
    assert read_manifest_path(tmp_path / "b" / "out") == tmp_path / "b" / "quantize.yml"
    written(tmp_path, None)
    assert read_manifest_path(tmp_path) is None
