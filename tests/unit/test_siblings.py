"""The other cells of a model, for a cell's card: what is finished, and a link to what is published."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from quantize_lib.host.siblings import Siblings
from quantize_lib.manifest import load_manifest
from quantize_lib.report import checkpoint_record
from quantize_lib.report.records import RECORD_FILE, CellRecord
from tests.support.records import MEASURED, RECORD, with_figure

MANIFEST = """
version: 1
models:
  - id: HuggingFaceTB/SmolLM2-135M-Instruct
    quantize: [{{method: gptq, bits: [4, 8]}}, {{method: awq, bits: 4}}, {{method: bitsandbytes, bits: 4}}]
  - {{id: acme/other, quantize: [{{method: awq, bits: 4}}]}}
evaluate: {{perplexity: {{texts: [x]}}, max_kl_divergence: 0.2{more}}}
publish: {{to: hub, namespace: acme}}
"""
NAME = "SmolLM2-135M-Instruct"
OWN = replace(RECORD, id=f"{NAME}-gptq-4bit")


def record(end: str, kl: float = 0.1, **changes: object) -> CellRecord:
    measured = with_figure(MEASURED, "kl_divergence", after=kl)
    return replace(RECORD, id=f"{NAME}-{end}", **{"measurements": measured, **changes})  # type: ignore[arg-type]


def found(folder: Path, made: list[CellRecord], more: str = "") -> list[tuple[str, str, str | None]]:
    manifest = folder / "quantize.yml"
    manifest.write_text(MANIFEST.format(more=more), encoding="utf-8")
    siblings = Siblings(load_manifest(manifest), folder / "out", lambda name: f"https://hub.example/{name}")
    records = siblings.of(OWN, {one.id: one for one in made})
    return [(one.id.removeprefix(f"{NAME}-"), one.status, one.url) for one in records]


def test_those_of_the_same_job_and_those_that_an_earlier_run_left_are_found_in_the_manifests_order(
    tmp_path: Path,
) -> None:
    earlier = record("gptq-8bit")
    folder = tmp_path / "out" / earlier.id
    folder.mkdir(parents=True)
    (folder / RECORD_FILE).write_text(json.dumps(checkpoint_record(earlier)), encoding="utf-8")
    other = replace(record("x"), id="other-awq-4bit", model="acme/other")
    assert found(tmp_path, [OWN, record("awq-4bit"), other]) == [
        ("gptq-8bit", "built", f"https://hub.example/acme/{NAME}-gptq-8bit"),
        ("awq-4bit", "built", f"https://hub.example/acme/{NAME}-awq-4bit"),
    ]


def test_what_missed_its_limits_has_no_link(tmp_path: Path) -> None:
    assert found(tmp_path, [record("awq-4bit", kl=0.3)]) == [("awq-4bit", "gated", None)]


def test_where_one_is_to_be_chosen_none_has_a_link(tmp_path: Path) -> None:
    made = [record("awq-4bit")]
    assert found(tmp_path, made, ", choose: smallest") == [("awq-4bit", "built", None)]


def test_one_of_another_revision_or_without_figures_is_not_beside_it(tmp_path: Path) -> None:
    made = [record("awq-4bit", revision="b" * 40), record("bnb-4bit", measurements=None)]
    assert found(tmp_path, made) == []
