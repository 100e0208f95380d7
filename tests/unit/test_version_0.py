"""What the version before 1.0 left stays readable (tests/data/version-0: a real run, without weights)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from quantize_lib.card.state import card_state
from quantize_lib.files import read_json, sha256_file
from quantize_lib.gate import check_gate
from quantize_lib.host.earlier import earlier_record
from quantize_lib.publish.directory.publisher import DirectoryPublisher
from quantize_lib.report import (
    RECORD_FILE,
    read_publish_spec,
    read_report,
    record_from_json,
    record_to_json,
    summary_table,
)
from quantize_lib.targets import publish_spec
from quantize_lib.targets.directory import PATH

DATA = Path(__file__).parents[1] / "data" / "version-0"
OUTPUT, PUBLISHED = DATA / "output", DATA / "published"
CELLS: list[dict[str, Any]] = read_json(OUTPUT / "report.json")["cells"]
IDS = [cell["id"] for cell in CELLS]


def test_a_report_comes_back_with_every_value() -> None:
    records = read_report(OUTPUT)
    assert [record.id for record in records] == IDS
    for record, cell in zip(records, CELLS, strict=True):
        assert cell.items() <= record_to_json(record).items()


def test_where_it_was_published_to_comes_back() -> None:
    spec = read_publish_spec(OUTPUT)
    assert spec is not None
    assert (spec.to, spec[PATH], spec.private) == ("directory", PUBLISHED, True)


def test_its_gate_can_be_judged_again() -> None:
    for record in read_report(OUTPUT):
        assert record.measurements is not None
        assert record.limits == {"max_perplexity_increase": 0.4, "max_kl_divergence": 0.4}
        assert check_gate(record.measurements, record.limits) == ()
    first = read_report(OUTPUT)[0].measurements
    assert first is not None
    assert check_gate(first, {"max_perplexity_increase": 0.05, "max_kl_divergence": 0.1}) == (
        "perplexity rose by 9.7% (44.43 → 48.76), more than the allowed 5%",
        "KL divergence is 0.1307 nats per token, more than the allowed 0.1",
    )


def test_its_table_shows_the_figures() -> None:
    line = summary_table(read_report(OUTPUT)).splitlines()[2].split("  ")
    assert line[0] == "SmolLM2-135M-Instruct-gptq-4bit"
    assert {"44.43 → 48.76", "0.1307"} <= set(line)


@pytest.mark.parametrize("name", IDS)
def test_a_checkpoint_s_own_record_comes_back_with_every_value(name: str) -> None:
    data = read_json(PUBLISHED / name / RECORD_FILE)
    record = record_from_json({**data, "status": "built", "error": None, "path": name, "commit": None})
    assert data.items() <= record_to_json(record).items()
    assert earlier_record(name, PUBLISHED) == record


@pytest.mark.parametrize("cell", CELLS, ids=IDS)
def test_a_published_folder_is_the_state_that_it_was(cell: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / cell["id"]
    shutil.copytree(PUBLISHED / cell["id"], folder)
    for name in cell["files"]:
        # Weights and tokenizer are left out of the copy.
        (folder / name).touch()
    state = DirectoryPublisher(publish_spec("directory", path=tmp_path)).current(cell["id"])
    assert state is not None
    assert state.fingerprint == cell["fingerprint"]
    assert state.commit == cell["commit"] == sha256_file(folder / RECORD_FILE)[:40]
    assert state.version == "0.1.0"
    assert state.inputs == cell["inputs"]


@pytest.mark.parametrize("cell", CELLS, ids=IDS)
def test_a_card_says_what_it_said(cell: dict[str, Any]) -> None:
    card: Any = ModelCard((PUBLISHED / cell["id"] / "README.md").read_text(encoding="utf-8"))
    state = card_state(card.data.to_dict())
    assert state is not None
    assert (state.fingerprint, state.version, state.rejected) == (cell["fingerprint"], "0.1.0", ())
    assert state.inputs == cell["inputs"]
