"""The schema of a report: the file that ships, with what the entries of the axes add to it."""

from __future__ import annotations

from functools import cache
from typing import Any

from quantize_lib.cell_words import complete_cell
from quantize_lib.errors import ErrorCode
from quantize_lib.metrics import COMPARED, LIMITS, METRICS, NO_WORSE_THAN, SIZE_LIMIT, Outcome
from quantize_lib.options import Option
from quantize_lib.report.figures import flat_words, sample_words
from quantize_lib.schemas import completed, put_owned
from quantize_lib.targets import TARGETS, Target, all_options

_MARK = "x-metrics"


@cache
def report_schema() -> dict[str, Any]:
    """The whole schema of a report; callers do not change it."""
    return completed("report", _complete_cells, _complete_publish, _complete_codes, _complete_metrics)


def _complete_cells(schema: dict[str, Any]) -> None:
    complete_cell(schema["$defs"]["cell"]["properties"])


def _complete_publish(schema: dict[str, Any]) -> None:
    publish = schema["properties"]["publish"]["oneOf"][1]
    keys = publish["properties"]
    keys["to"]["enum"] = list(TARGETS)
    put_owned(
        keys,
        "x-targets",
        {name: (_words(option), owners) for name, (option, owners) in all_options().items()},
    )
    publish["allOf"] = [_condition(target) for target in TARGETS.values() if _never_null(target)]


def _complete_codes(schema: dict[str, Any]) -> None:
    schema["$defs"]["cell"]["properties"]["code"]["enum"] = [*map(str, ErrorCode), None]


def _complete_metrics(schema: dict[str, Any]) -> None:
    cell, reload = schema["$defs"]["cell"], schema["$defs"]["reload"]
    metrics = METRICS.values()
    flat = {key: words for metric in metrics for key, words in flat_words(metric).items()}
    put_owned(cell["properties"], _MARK, flat)
    nothing = cell["then"]["properties"]
    for gone in nothing.keys() - cell["properties"].keys():
        del nothing[gone]
    nothing.update({key: {"type": "null"} for key in flat})
    sample = {key: words for metric in COMPARED.values() for key, words in sample_words(metric).items()}
    put_owned(reload["properties"], _MARK, sample)
    limits = {
        key: ({"type": "number", "description": limit.number}, [metric.name])
        for key, (metric, limit) in LIMITS.items()
    }
    put_owned(cell["properties"]["limits"]["properties"], _MARK, limits)
    cell["properties"]["limits"]["properties"][SIZE_LIMIT.key] = {
        "type": "number",
        "description": SIZE_LIMIT.number,
    }
    cell["properties"]["limits"]["properties"][NO_WORSE_THAN] = {
        "type": "number",
        "description": "0 where it must be no worse than what was published before.",
    }
    verdict = cell["properties"]["verdicts"]["items"]["properties"]
    verdict["outcome"]["enum"] = list(map(str, Outcome))


def _words(option: Option[Any]) -> dict[str, Any]:
    description = option.words["description"] + option.in_report
    words = dict(option.written_words)
    if option.always_written:
        words["type"] = [words["type"], "null"]
        description += " Null for another target."
    return {"description": description, **words}


def _condition(target: Target) -> dict[str, Any]:
    """That an option which every report has is not null for its own target."""
    return {
        "if": {"properties": {"to": {"const": target.name}}},
        "then": {"properties": _never_null(target)},
    }


def _never_null(target: Target) -> dict[str, Any]:
    return {
        option.name: {"type": option.written_words["type"]}
        for option in target.options
        if option.always_written
    }
