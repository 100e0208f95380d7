"""The manifest of one cell alone, from which the same checkpoint comes again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from quantize_lib.effective_settings import hashed_settings
from quantize_lib.job.records import TextPart, TextRecord
from quantize_lib.methods import get_method
from quantize_lib.methods.common import AUTO_BITS, is_automatic
from quantize_lib.methods.entry import BITS
from quantize_lib.plan.cells import CONVERSATIONS, HELD_OUT, Cell, EvaluateSpec, Job
from quantize_lib.report.records import CellRecord, Measurements

if TYPE_CHECKING:
    from quantize_lib.calibration.text_spec import TextSpec

_MODEL_KEYS = ("trust_remote_code", "allow_pickle", "allow_quantized_base")


def manifest_of(record: CellRecord, cell: Cell, job: Job) -> str:
    """A manifest in YAML: the cell with its settings, the base model and the texts pinned.

    Files are named as they were called, without their folders: they belong beside the manifest.
    """
    import yaml

    model: dict[str, Any] = {"id": job.model.id, "name": job.model.name}
    if job.model.local is None and record.revision is not None:
        model["revision"] = record.revision
    model |= {key: True for key in _MODEL_KEYS if getattr(job.model, key)}
    settings = {key: value for key, value in hashed_settings(cell.settings).items() if value != []}
    if get_method(cell.settings.method).width is not None:
        # They follow from what stands in their place.
        del settings[BITS]
    elif is_automatic(cell.settings):
        settings[BITS] = AUTO_BITS
    model["quantize"] = [{**settings, "name": cell.id}]
    if get_method(cell.settings.method).calibrated:
        model["calibration"] = _text(job.calibration, record.calibration)
    document: dict[str, Any] = {"version": 1, "models": [model]}
    if job.evaluate.held_out is not None:
        document["evaluate"] = _evaluate(job.evaluate, job.evaluate.held_out, record.measurements)
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def _evaluate(asked: EvaluateSpec, held_out: TextSpec, measured: Measurements | None) -> dict[str, Any]:
    """What is measured; limits are the business of who makes it again."""
    found: dict[str, Any] = {HELD_OUT: _text(held_out, None if measured is None else measured.evaluation)}
    further = {} if measured is None else measured.texts
    texts = {
        name: _text(text, further[name].text if name in further else None)
        for name, text in asked.texts.items()
        if not text.built_in
    }
    for text in texts.values():
        # Theirs is the first text's.
        del text["sequence_length"]
    if texts:
        found["texts"] = texts
    if asked.conversations is None and CONVERSATIONS not in asked.texts:
        found[CONVERSATIONS] = False
    return found


def _text(spec: TextSpec, used: TextRecord | None) -> dict[str, Any]:
    parts: Sequence[TextPart | None] = () if used is None else used.parts or (used,)
    if len(parts) != len(spec.sources):
        parts = [None] * len(spec.sources)
    sources = [_source(one, part) for one, part in zip(spec.sources, parts, strict=True)]
    numbers = {"samples": spec.samples, "sequence_length": spec.sequence_length, "seed": spec.seed}
    if not spec.mix:
        return {**sources[0], **numbers}
    weights = [{"weight": one.samples} for one in spec.mix]
    return {"mix": [{**one, **weight} for one, weight in zip(sources, weights, strict=True)], **numbers}


def _source(spec: TextSpec, used: TextPart | None) -> dict[str, Any]:
    place: dict[str, Any]
    if spec.files:
        place = {"files": [file.name for file in spec.files], "column": spec.column}
    elif spec.texts:
        place = {"texts": list(spec.texts)}
    else:
        place = {"dataset": spec.dataset, "config": spec.config, "split": spec.split, "column": spec.column}
        place["revision"] = spec.revision if used is None else used.revision
    place["chat_template_kwargs"] = dict(spec.chat_template_kwargs) or None
    return {key: value for key, value in place.items() if value is not None}
