"""The gate: the limits that a checkpoint must meet before it is published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from quantize_lib.command.limits import judge_command
from quantize_lib.command.spec import is_command_limit
from quantize_lib.harness.limits import judge_tasks
from quantize_lib.harness.spec import is_task_limit
from quantize_lib.metrics import (
    COMPARED,
    LIMITS,
    NO_WORSE_THAN,
    SIZE_LIMIT,
    Figure,
    Outcome,
    Verdict,
    number,
    split_key,
)
from quantize_lib.no_worse import compare
from quantize_lib.report.records import Measurements, PublishedBefore

NOTHING = PublishedBefore()
"""Where nothing is published."""


def check_gate(
    measurements: Measurements, limits: Mapping[str, float], before: PublishedBefore = NOTHING
) -> tuple[str, ...]:
    """Why the gate was missed, one reason a line; empty where it was met or there is no limit.

    A figure that is missing or not finite misses its limit, and so does every figure that the reload from
    disk did not reproduce.

    Args:
        limits: by their keys in the manifest. One that is not known here is missed.
        before: what is published, for the limit that asks for it.
    """
    if not limits:
        return ()
    verdicts = judge_limits(measurements, limits, before)
    unproven = _unproven(measurements) if limits.keys() - {SIZE_LIMIT.key} else []
    return (*unproven, *(one.text for one in verdicts if not one.outcome.met))


def judge_limits(
    measurements: Measurements, limits: Mapping[str, float], before: PublishedBefore = NOTHING
) -> tuple[Verdict, ...]:
    """How each limit was judged, with the figure's standard error; what the reload says is beside this.

    Args:
        limits, before: as for `check_gate`.
    """
    order = [SIZE_LIMIT.key, *LIMITS]
    known = [key for key in limits if split_key(key)[1] in order]
    # The first text's, then the others' as they were named.
    known.sort(key=lambda key: (bool(split_key(key)[0]), order.index(key) if key in order else 0))
    return (
        *(_judged(measurements, key, limits[key]) for key in known),
        *judge_tasks(measurements.tasks, limits),
        *judge_command(measurements.command, limits),
        *(
            Verdict(key=key, outcome=Outcome.MISSED, text=f"{key} is set, and this version has no such limit")
            for key in limits
            if key not in known
            and key != NO_WORSE_THAN
            and not is_task_limit(key)
            and not is_command_limit(key)
        ),
        *([compare(measurements, before)] if NO_WORSE_THAN in limits else ()),
    )


def _judged(measurements: Measurements, key: str, limit: float) -> Verdict:
    text, own = split_key(key)
    if own == SIZE_LIMIT.key:
        return SIZE_LIMIT.judge(Figure(after=measurements.size_after), limit)
    metric, rule = LIMITS[own]
    verdict = rule.judge(measurements.figure(metric, text), limit)
    return replace(verdict, key=key, text=f"on {text}: {verdict.text}") if text else verdict


def _unproven(measurements: Measurements) -> list[str]:
    reload = measurements.reload
    if reload is None:
        return ["the figures were not checked by a reload from disk"]
    if reload.reproduced:
        return []
    differences = [
        f"{metric.title} {number(sample.reloaded)} instead of {number(sample.of_pass)}"
        for metric in COMPARED.values()
        if (sample := reload.sample.get(metric.name)) is not None and sample.of_pass is not None
    ]
    details = f" ({', '.join(differences)} on the sample)" if differences else ""
    return [f"the reload from disk did not reproduce the figures{details}"]
