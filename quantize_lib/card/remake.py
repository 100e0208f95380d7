"""The manifest of one cell alone, from which the same checkpoint comes again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quantize_lib.effective_settings import hashed_settings
from quantize_lib.job.records import TextRecord
from quantize_lib.methods import get_method
from quantize_lib.methods.common import AUTO_BITS, is_automatic
from quantize_lib.methods.entry import BITS
from quantize_lib.plan.cells import HELD_OUT, Cell, Job
from quantize_lib.report.records import CellRecord

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
    if is_automatic(cell.settings):
        settings[BITS] = AUTO_BITS
    elif get_method(cell.settings.method).width is not None:
        # They follow from what stands in their place.
        del settings[BITS]
    model["quantize"] = [{**settings, "name": cell.id}]
    if get_method(cell.settings.method).calibrated:
        model["calibration"] = _text(job.calibration, record.calibration)
    document: dict[str, Any] = {"version": 1, "models": [model]}
    held_out = job.evaluate.held_out
    if held_out is not None:
        measured = record.measurements
        document["evaluate"] = {HELD_OUT: _text(held_out, None if measured is None else measured.evaluation)}
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def _text(spec: TextSpec, used: TextRecord | None) -> dict[str, Any]:
    if spec.files:
        place: dict[str, Any] = {"files": [file.name for file in spec.files], "column": spec.column}
    elif spec.texts:
        place = {"texts": list(spec.texts)}
    else:
        place = {"dataset": spec.dataset, "config": spec.config, "split": spec.split, "column": spec.column}
        place["revision"] = spec.revision if used is None else used.revision
    numbers = {"samples": spec.samples, "sequence_length": spec.sequence_length, "seed": spec.seed}
    return {key: value for key, value in {**place, **numbers}.items() if value is not None}
