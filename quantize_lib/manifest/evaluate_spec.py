"""A checked `evaluate` of the manifest: its texts with files found, and its limits as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.manifest.text import text_spec
from quantize_lib.metrics import ALL_LIMITS, LIMITS, NO_WORSE_THAN, limit_key
from quantize_lib.plan.cells import CHOOSE, HELD_OUT, TEXTS, EvaluateSpec


def evaluate_spec(evaluate: Mapping[str, Any], base: Path) -> EvaluateSpec:
    """What is measured of a model and held to which limits.

    Args:
        evaluate: that of the model over that of the manifest.
        base: what paths are relative to.
    """
    held_out = evaluate.get(HELD_OUT)
    first = text_spec(held_out, base) if held_out else None
    return EvaluateSpec(
        held_out=first,
        texts={} if first is None else _texts(evaluate.get(TEXTS, {}), first.sequence_length, base),
        limits=limits_of(evaluate),
        choose=evaluate.get(CHOOSE, EvaluateSpec.choose),
    )


def limits_of(evaluate: Mapping[str, Any]) -> dict[str, float]:
    """All limits by their keys (`metrics.limit_key`)."""
    places = [("", evaluate), *evaluate.get(TEXTS, {}).items()]
    limits = {
        limit_key(key, name): limit.parse(place[key])
        for name, place in places
        for key, limit in ALL_LIMITS.items()
        if key in place
    }
    return limits | ({NO_WORSE_THAN: 0.0} if NO_WORSE_THAN in evaluate else {})


def _texts(texts: Mapping[str, Any], sequence_length: int, base: Path) -> dict[str, TextSpec]:
    sources = {
        name: {key: value for key, value in text.items() if key not in LIMITS} for name, text in texts.items()
    }
    return {
        name: replace(text_spec(source, base), sequence_length=sequence_length)
        for name, source in sources.items()
    }
