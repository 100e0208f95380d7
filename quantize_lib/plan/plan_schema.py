"""The schema of a plan: the file that ships, with what the entries of the axes add to it."""

from __future__ import annotations

from functools import cache
from typing import Any

from quantize_lib.cell_words import complete_cell, settings_words
from quantize_lib.metrics import LIMITS, SIZE_LIMIT
from quantize_lib.options import Option
from quantize_lib.schemas import completed, put_owned
from quantize_lib.state_stores import STATE_STORES
from quantize_lib.targets import TARGETS, all_options


@cache
def plan_schema() -> dict[str, Any]:
    """The whole schema of a plan; callers do not change it."""
    return completed("plan", _complete_cells, _complete_publish, _complete_state, _complete_limits)


def _complete_cells(schema: dict[str, Any]) -> None:
    keys = schema["$defs"]["cell"]["properties"]
    complete_cell(keys)
    keys["settings"]["properties"] = settings_words(keys["settings"]["properties"])


def _complete_publish(schema: dict[str, Any]) -> None:
    keys = schema["properties"]["publish"]["properties"]
    keys["to"]["enum"] = list(TARGETS)
    put_owned(
        keys,
        "x-targets",
        {
            name: (_words(option), owners)
            for name, (option, owners) in all_options().items()
            if option.always_written
        },
    )


def _complete_state(schema: dict[str, Any]) -> None:
    schema["properties"]["state"]["properties"]["in"]["enum"] = list(STATE_STORES)


def _complete_limits(schema: dict[str, Any]) -> None:
    evaluate = schema["$defs"]["job"]["properties"]["evaluate"]
    limits = {
        key: ({"description": f"{limit.number} Null for none.", "type": ["number", "null"]}, [metric.name])
        for key, (metric, limit) in LIMITS.items()
    }
    put_owned(evaluate["properties"], "x-metrics", limits)
    evaluate["properties"][SIZE_LIMIT.key] = {
        "description": f"{SIZE_LIMIT.number} Null for none.",
        "type": ["number", "null"],
    }
    evaluate["required"] = list(evaluate["properties"])


def _words(option: Option[Any]) -> dict[str, Any]:
    description = f"{option.words['description']}{option.in_plan} Null for another target."
    return {"description": description, "type": [option.written_words["type"], "null"]}
