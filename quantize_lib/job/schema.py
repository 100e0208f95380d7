"""The schemas of what travels: the files that ship, with what methods, formats and errors add to them."""

from __future__ import annotations

from functools import cache
from typing import Any

from quantize_lib.cell_words import all_bits, settings_words
from quantize_lib.errors import ErrorCode
from quantize_lib.formats import FORMATS
from quantize_lib.methods import AUTO_FORMAT, METHODS
from quantize_lib.schemas import completed


@cache
def job_schema() -> dict[str, Any]:
    """The whole schema of a job; callers do not change it."""
    return completed("job", _complete_settings)


def _complete_settings(schema: dict[str, Any]) -> None:
    settings = schema["properties"]["cells"]["items"]["properties"]["settings"]
    words = settings_words(settings["properties"])
    words["overrides"]["items"]["properties"]["bits"] = {"enum": [*all_bits(), None]}
    settings["properties"] = {
        "method": {"enum": list(METHODS)},
        "bits": {"enum": all_bits()},
        "format": {"enum": [AUTO_FORMAT, *FORMATS]},
        **words,
    }


@cache
def result_schema() -> dict[str, Any]:
    """The whole schema of a result; callers do not change it."""
    return completed("result", _complete_codes)


def _complete_codes(schema: dict[str, Any]) -> None:
    schema["$defs"]["failed"]["properties"]["code"]["enum"] = list(map(str, ErrorCode))


@cache
def statistics_schema() -> dict[str, Any]:
    """The schema of what a shard says of its statistics; callers do not change it."""
    return completed("statistics")
