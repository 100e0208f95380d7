"""A checked `evaluate` of the manifest: its texts with files found, and its limits as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.manifest.other_builds import COMPARE_WITH, build_spec
from quantize_lib.manifest.tasks import TASKS, task_limits, task_spec
from quantize_lib.manifest.test_command import command_limits, command_spec
from quantize_lib.manifest.text import text_spec
from quantize_lib.metrics import ALL_LIMITS, LIMITS, NO_WORSE_THAN, limit_key
from quantize_lib.plan.cells import CHOOSE, CONVERSATIONS, HELD_OUT, TEXTS, EvaluateSpec

_MOST_SEQUENCES = 8
_MOST_TOKENS = 8 * 512
"""Of the package's own conversations, which are to cost little beside what was asked for."""


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
        conversations=None if first is None else _conversations(evaluate, first),
        tasks=tuple(task_spec(task, base) for task in evaluate.get(TASKS, ())),
        compare_with=tuple(build_spec(written, base) for written in evaluate.get(COMPARE_WITH, ())),
        command=command_spec(evaluate, base),
        limits=limits_of(evaluate, base),
        choose=evaluate.get(CHOOSE, EvaluateSpec.choose),
    )


def limits_of(evaluate: Mapping[str, Any], base: Path) -> dict[str, float]:
    """All limits by their keys, as `EvaluateSpec` has them.

    Args:
        evaluate, base: as for `evaluate_spec`.
    """
    places = [("", evaluate), *evaluate.get(TEXTS, {}).items()]
    if isinstance(own := evaluate.get(CONVERSATIONS), Mapping):
        places.append((CONVERSATIONS, own))
    limits = {
        limit_key(key, name): limit.parse(place[key])
        for name, place in places
        for key, limit in ALL_LIMITS.items()
        if key in place
    }
    limits |= task_limits(evaluate.get(TASKS, ()), base) | command_limits(evaluate)
    return limits | ({NO_WORSE_THAN: 0.0} if NO_WORSE_THAN in evaluate else {})


def _texts(texts: Mapping[str, Any], sequence_length: int, base: Path) -> dict[str, TextSpec]:
    return {
        name: text_spec(
            {
                **{key: value for key, value in text.items() if key not in LIMITS},
                "sequence_length": sequence_length,
            },
            base,
        )
        for name, text in texts.items()
    }


def _conversations(evaluate: Mapping[str, Any], first: TextSpec) -> TextSpec | None:
    """The package's own, unless they are not wanted; of their name the manifest's own text goes first.

    Args:
        first: the held-out text beside which they are measured, at most half as much.
    """
    wanted = evaluate.get(CONVERSATIONS, True)
    if wanted is False or CONVERSATIONS in evaluate.get(TEXTS, {}):
        return None
    return TextSpec(
        built_in=True,
        # Limits on them are meant.
        optional=wanted is True,
        samples=max(1, min(_MOST_SEQUENCES, _MOST_TOKENS // first.sequence_length, first.samples // 2)),
        sequence_length=first.sequence_length,
    )
