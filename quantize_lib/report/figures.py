"""Figures and the reload as `report.json` has them, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar, cast

from quantize_lib.job.records import Reload, SampleFigure
from quantize_lib.metrics import COMPARED, METRICS, Figure, MeanMetric, Metric

T = TypeVar("T")
_NOTHING = Figure()
_NOT_COMPARED = SampleFigure(reloaded=None, of_pass=None)


def flat_figures(figures: Mapping[str, Figure]) -> dict[str, float | None]:
    """Every metric's own keys, null where nothing was measured."""
    return {
        key: plain_json(getattr(figures.get(metric.name, _NOTHING), part))
        for metric in METRICS.values()
        for key, part in metric.keys.items()
    }


def flat_words(metric: Metric) -> dict[str, tuple[dict[str, Any], list[str]]]:
    """The metric's own keys in a cell, as the schema has them."""
    if metric.compares:
        texts = {"after": f"{metric.description[:1].upper()}{metric.description[1:]}, {metric.unit}."}
    else:
        texts = {
            "before": f"{metric.heading} of the base model on held-out text: {metric.description}.",
            "after": f"{metric.heading} of the checkpoint on the same text.",
        }
    return {key: (_nullable(texts[part]), [metric.name]) for key, part in metric.keys.items()}


def sample_words(metric: MeanMetric) -> dict[str, tuple[dict[str, Any], list[str]]]:
    """The metric's own keys in a reload, as the schema has them."""
    reloaded, of_pass = metric.sample_keys
    return {
        reloaded: (
            _nullable(f"{metric.heading} of the reloaded checkpoint on the sample."),
            [metric.name],
        ),
        of_pass: (
            _nullable(f"{metric.heading} of the calibration pass on the same sample."),
            [metric.name],
        ),
    }


def _nullable(text: str) -> dict[str, Any]:
    return {"type": ["number", "null"], "description": text}


def figures_json(figures: Mapping[str, Figure]) -> dict[str, dict[str, Any]]:
    """The object `figures`: what was measured, each with its unit and uncertainty."""
    return {
        name: {
            "before": plain_json(figure.before),
            "after": plain_json(figure.after),
            "unit": METRICS[name].unit,
            "standard_error": plain_json(figure.standard_error),
            **({"sequence_means": list(figure.sequence_means)} if figure.sequence_means else {}),
            **(
                {} if figure.increase_error is None else {"increase_error": plain_json(figure.increase_error)}
            ),
        }
        for name, figure in figures.items()
    }


def figures_from(data: Mapping[str, Any]) -> dict[str, Figure]:
    """The figures of a cell of a report; one of an earlier version has the flat keys alone."""
    if "figures" in data:
        return {name: _figure(data["figures"][name]) for name in METRICS if name in data["figures"]}
    flat: dict[str, dict[str, Any]] = {
        metric.name: {part: data.get(key) for key, part in metric.keys.items()} for metric in METRICS.values()
    }
    found = {name: Figure(**parts) for name, parts in flat.items()}
    return {name: figure for name, figure in found.items() if figure != _NOTHING}


def _figure(data: Mapping[str, Any]) -> Figure:
    return known(Figure, {**data, "sequence_means": tuple(data.get("sequence_means", ()))})


def reload_json(reload: Reload) -> dict[str, Any]:
    """The object `reload`, with every metric's own keys."""
    data: dict[str, Any] = {}
    for field in fields(reload):
        if field.name == "sample":
            data |= _flat_sample(reload.sample)
        elif field.name in ("modes", "unrounded_inputs") and not getattr(reload, field.name):
            # Keys that version 0 did not have, and that most formats have no use for.
            continue
        else:
            data[field.name] = plain_json(getattr(reload, field.name))
    return data


def _flat_sample(sample: Mapping[str, SampleFigure]) -> dict[str, float | None]:
    data: dict[str, float | None] = {}
    for metric in COMPARED.values():
        figure = sample.get(metric.name, _NOT_COMPARED)
        reloaded, of_pass = metric.sample_keys
        data |= {reloaded: plain_json(figure.reloaded), of_pass: plain_json(figure.of_pass)}
    return data


def reload_from(data: Mapping[str, Any]) -> Reload:
    """The reload of a cell of a report."""
    found: dict[str, SampleFigure] = {}
    for metric in COMPARED.values():
        reloaded, of_pass = (data.get(key) for key in metric.sample_keys)
        if reloaded is not None or of_pass is not None:
            found[metric.name] = SampleFigure(reloaded=reloaded, of_pass=of_pass)
    return known(Reload, {**data, "sample": found, "modes": tuple(data.get("modes", ()))})


def known(kind: type[T], data: Mapping[str, Any]) -> T:
    """A dataclass from JSON, without the keys that a later version added."""
    names = [field.name for field in fields(cast(Any, kind))]
    return kind(**{name: data[name] for name in names if name in data})


def plain_json(value: Any) -> Any:
    """The value as strict JSON can hold it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item) for item in value]
    return value
