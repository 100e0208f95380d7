"""Example cards, rendered from what a real run of the demo recorded (`docs/examples/cards/records.json`)."""

from __future__ import annotations

import json
from pathlib import Path

from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.card import render_card
from quantize_lib.job.records import TextRecord
from quantize_lib.methods.settings import settings_of
from quantize_lib.plan.cells import Cell, EvaluateSpec, Job
from quantize_lib.report import record_from_json
from quantize_lib.report.records import CellRecord
from quantize_lib.source.facts import ModelFacts, ModelSource
from quantize_lib.source.model_spec import ModelSpec

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "examples" / "cards"
_SHOWN = ("gptq-4bit", "bnb-4bit", "w4a16")
_CARD = {"license": "apache-2.0", "language": ["en"], "pipeline_tag": "text-generation"}
"""What the demo's base model says of itself."""
_AUTO = {"group_size": "auto"}
"""The demo's manifest asks for no group size."""
_NAME = "SmolLM2-135M-Instruct"


def files() -> dict[Path, str]:
    """The text of every example card, by its file."""
    data = json.loads((FOLDER / "records.json").read_text(encoding="utf-8"))
    records = [record_from_json(cell) for cell in data["cells"]]
    return {
        FOLDER / f"{end}.md": _card(record, records)
        for end in _SHOWN
        for record in records
        if _is(record, end)
    }


def _is(record: CellRecord, end: str) -> bool:
    return record.id == f"{_NAME}-{end}"


def _card(record: CellRecord, records: list[CellRecord]) -> str:
    own = {key: value for key, value in record.settings.items() if key not in ("method", "bits")}
    settings = settings_of(record.method, record.bits, {**own, **(_AUTO if "group_size" in own else {})})
    evaluation = None if record.measurements is None else record.measurements.evaluation
    job = Job(
        id=_NAME,
        model=ModelSpec(id=record.model, name=_NAME, local=Path("work/model")),
        device="auto",
        calibration=_text(record.calibration, "calibration.jsonl"),
        evaluate=EvaluateSpec(held_out=_text(evaluation, "held-out.jsonl", "reviews.jsonl")),
        cells=(),
    )
    facts = ModelFacts(
        config={"architectures": ["LlamaForCausalLM"], "model_type": "llama"},
        tensors={},
        layers=(),
        revision=str(record.revision),
        weight_bytes=0,
        download_bytes=0,
    )
    return render_card(
        record,
        source=ModelSource(folder=Path("work/model"), facts=facts, card=_CARD),
        cell=Cell(id=record.id, settings=settings, repository=f"acme/{record.repository}"),
        job=job,
        command="model-quantizer run quantize.yml",
        siblings=[one for one in records if one.id != record.id],
        picture=True,
    )


def _text(used: TextRecord | None, *names: str) -> TextSpec:
    if used is None:
        return TextSpec()
    return TextSpec(files=tuple(map(Path, names)), samples=used.samples, sequence_length=used.sequence_length)
