"""The manifest on a card: read again, it asks for the very checkpoint that the card is of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.card.remake import manifest_of
from quantize_lib.manifest import load_manifest
from quantize_lib.plan.fingerprint import fingerprint
from quantize_lib.report.records import CellRecord
from tests.support.records import RECORD

COMMIT = "a" * 40
WHOLE = """
version: 1
defaults:
  calibration: {{samples: 7, sequence_length: 64, seed: 3}}
models:
  - {{id: acme/other, quantize: [{{method: awq, bits: 4}}]}}
  - id: acme/model
    name: model-5
    calibration: {calibration}
    quantize: [{entry}]
evaluate:
  perplexity: {{texts: ["held, out", "# text"], samples: 1, sequence_length: 16, seed: 5}}
  max_kl_divergence: 0.2
publish: {{to: hub, namespace: acme}}
"""
ENTRIES = (
    "{method: gptq, bits: 4}",
    "{method: gptq, bits: 4, format: compressed-tensors, name: short}",
    "{method: gptq, bits: 8, group_size: -1, desc_act: true, sym: false}",
    "{method: gptq, bits: 4, modules_to_not_convert: ['*.down_proj', \"*it's*\"],"
    " overrides: [{modules: '*.q_proj', bits: 8, group_size: 32}], format: compressed-tensors}",
    "{method: awq, bits: 4, effort: fast}",
    "{method: gptq, bits: auto, target_bits: 3.5}",
    "{method: gptq, bits: auto, target_size: 1.2 GB}",
    "{method: gguf, type: auto, target_size: 1.2 GB}",
    "{method: bitsandbytes, bits: 4}",
    "{method: fp8, bits: 8, scales: block}",
    "{method: gguf, type: Q5_K_M}",
)
CALIBRATIONS = (
    "{dataset: acme/text, split: test, column: body}",
    "{files: [a.txt]}",
    "{mix: [{dataset: acme/chats, column: messages, chat_template_kwargs: {thinking: false}, weight: 0.3},"
    " {files: [a.txt], weight: 2}, {texts: [three]}]}",
    "{dataset: acme/chats, config: short, column: messages, chat_template_kwargs: {day: 'x: y', deep: 2}}",
    "{texts: ['one: two', 'three ''four''', \"```\\n---\\n{{ x }}\"]}",
)


def load(folder: Path, text: str) -> tuple[str, list[str]]:
    """The fingerprint of the last cell of a manifest, and the ids of all."""
    folder.mkdir(exist_ok=True)
    (folder / "a.txt").write_text("some text\n", encoding="utf-8")
    (folder / "quantize.yml").write_text(text, encoding="utf-8")
    plan = load_manifest(folder / "quantize.yml")
    job, cell = list(plan.cells())[-1]
    digest = fingerprint(cell, job, model_revision=COMMIT, calibration_revision=COMMIT)
    return digest, [cell.id for _, cell in plan.cells()]


@pytest.mark.parametrize(
    ("entry", "calibration"),
    [*((entry, "{}") for entry in ENTRIES), *((ENTRIES[0], one) for one in CALIBRATIONS)],
)
def test_the_manifest_of_one_cell_asks_for_the_same_checkpoint(
    tmp_path: Path, entry: str, calibration: str
) -> None:
    text = WHOLE.format(entry=entry, calibration=calibration)
    whole, ids = load(tmp_path / "whole", text)
    plan = load_manifest(tmp_path / "whole" / "quantize.yml")
    job, cell = list(plan.cells())[-1]
    record = CellRecord(**{**vars(RECORD), "id": cell.id, "revision": COMMIT})
    alone = manifest_of(record, cell, job)
    assert load(tmp_path / "alone", alone) == (whole, ids[-1:])
    (pinned,) = load_manifest(tmp_path / "alone" / "quantize.yml").jobs
    assert pinned.model.revision == COMMIT
    assert pinned.evaluate.held_out is not None
    assert pinned.evaluate.held_out.texts == ("held, out", "# text")


@pytest.mark.parametrize("conversations", ["true", "false", "{max_kl_divergence: 0.3}"])
def test_it_measures_on_the_same_texts(tmp_path: Path, conversations: str) -> None:
    text = WHOLE.format(entry="{method: gptq, bits: 4}", calibration="{files: [a.txt]}").replace(
        "  max_kl_divergence",
        "  texts:\n"
        "    code: {dataset: acme/code, samples: 3, seed: 2, max_kl_divergence: 0.1}\n"
        "    both: {mix: [{files: [a.txt], weight: 3}, {texts: [x]}], samples: 4}\n"
        f"  conversations: {conversations}\n"
        "  max_kl_divergence",
    )
    load(tmp_path / "whole", text)
    job, cell = list(load_manifest(tmp_path / "whole" / "quantize.yml").cells())[-1]
    load(tmp_path / "alone", manifest_of(RECORD, cell, job))
    (pinned,) = load_manifest(tmp_path / "alone" / "quantize.yml").jobs
    assert _named(pinned.evaluate.texts) == _named(job.evaluate.texts)
    assert (pinned.evaluate.conversations is None) == (job.evaluate.conversations is None)
    assert not pinned.evaluate.limits


def _named(texts: Mapping[str, TextSpec]) -> list[tuple[str, str]]:
    """Texts without the folders that their files are in."""
    return [(name, re.sub(r"PosixPath\('[^']*/", "(", str(text))) for name, text in texts.items()]


def test_no_folder_of_the_machine_stands_in_it(tmp_path: Path) -> None:
    text = WHOLE.format(entry="{method: gptq, bits: 4}", calibration="{files: [a.txt]}")
    load(tmp_path, text)
    job, cell = list(load_manifest(tmp_path / "quantize.yml").cells())[-1]
    alone = manifest_of(RECORD, cell, job)
    assert str(tmp_path) not in alone
    assert "- a.txt" in alone
