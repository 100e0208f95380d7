"""The card's front matter, as the Hub reads it (https://huggingface.co/docs/hub/model-cards#model-card-metadata).

What the base model's card does not say is left out, never filled in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantize_lib.architecture.language_model import text_config
from quantize_lib.card.state import STATE_KEY
from quantize_lib.card.tasks import model_index
from quantize_lib.formats import get_format
from quantize_lib.methods import get_method
from quantize_lib.names import repository_fault
from quantize_lib.report.records import CellRecord
from quantize_lib.source.card_rules import stated
from quantize_lib.source.facts import ModelSource
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.tasks import stated_task
from quantize_lib.text import plain


def base_model_id(model: ModelSpec) -> str | None:
    """The base model's id on the Hub; None for a local folder.

    What a local folder's own card or config names is not taken: that is the model *it* was made from, and
    these are not that model's quantized weights.
    """
    if model.local is not None or "/" not in model.id or repository_fault(model.id) is not None:
        return None
    return model.id


def metadata(
    record: CellRecord, source: ModelSource, model: ModelSpec, given: Mapping[str, Any]
) -> dict[str, Any]:
    """The front matter's keys and values: strings, lists, results of tasks and one mapping of our own.

    Args:
        given: the manifest's `publish.card`, which goes before the base model's card.
    """
    card = stated(source.card, given)
    width = "mixed-bits" if record.by_layer else f"{record.bits}-bit"
    own = [get_method(record.method).slug, width, "quantized", "model-quantizer"]
    calibration = record.calibration if get_method(record.method).calibrated else None
    model_type = str(text_config(source.facts.config).get("model_type"))
    values: dict[str, Any] = {
        "base_model": base_model_id(model),
        "base_model_relation": "quantized",
        "library_name": get_format(record.format).library(model_type),
        "pipeline_tag": _text(card.get("pipeline_tag")) or _pipeline_tag(source.facts.config),
        "license": _texts(card.get("license")) or _text(source.license),
        "license_name": _text(card.get("license_name")),
        "license_link": _text(card.get("license_link")),
        "language": _texts(card.get("language")),
        "datasets": (calibration.datasets if calibration is not None else None) or None,
        "tags": list(dict.fromkeys([*own, *given.get("tags", ())])),
        "model-index": model_index(record),
        STATE_KEY: state_of(record),
    }
    return {key: value for key, value in values.items() if value is not None}


def state_of(record: CellRecord) -> dict[str, str] | None:
    """What a card says of the repository that it stands in (`card.state`); None where nothing is known."""
    if record.fingerprint is None:
        return None
    version = record.versions.get("model-quantizer")
    return {
        "fingerprint": record.fingerprint,
        **({} if version is None else {"version": plain(version)}),
        # One request for the card is to tell what has changed, too.
        **record.inputs,
        **({} if record.choice is None else {"choice": record.choice}),
    }


def _pipeline_tag(config: Mapping[str, Any]) -> str | None:
    task = stated_task(config)
    return None if task is None else task.pipeline


def _text(value: object) -> str | None:
    return plain(value) or None if isinstance(value, str) else None


def _texts(value: object) -> str | list[str] | None:
    """A string or a list of strings; anything else in a foreign card is left out."""
    if isinstance(value, list):
        return [plain(item) for item in value if isinstance(item, str) and plain(item)] or None
    return _text(value)
