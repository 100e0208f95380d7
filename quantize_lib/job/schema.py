"""The schemas of what travels: the files that ship, with what methods, formats and errors add to them."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any

from quantize_lib.errors import ErrorCode
from quantize_lib.formats import FORMATS
from quantize_lib.methods import AUTO_FORMAT, METHODS, SETTINGS
from quantize_lib.methods.settings import SHARED
from quantize_lib.schemas import load_schema

_WORDS = ("type", "enum", "minimum", "maximum")


@cache
def job_schema() -> dict[str, Any]:
    """The whole schema of a job; callers do not change it."""
    schema = deepcopy(load_schema("job"))
    settings = schema["properties"]["cells"]["items"]["properties"]["settings"]
    widths = sorted({width for method in METHODS.values() for width in method.bits})
    shared = {name: settings["properties"][name] for name in SHARED}
    shared["overrides"]["items"]["properties"]["bits"] = {"enum": [*widths, None]}
    settings["properties"] = {
        "method": {"enum": list(METHODS)},
        "bits": {"enum": widths},
        "format": {"enum": [AUTO_FORMAT, *FORMATS]},
        **shared,
        **{
            name: {word: setting.words[word] for word in _WORDS if word in setting.words}
            for name, setting in SETTINGS.items()
            if name not in SHARED
        },
    }
    return schema


@cache
def result_schema() -> dict[str, Any]:
    """The whole schema of a result; callers do not change it."""
    schema = deepcopy(load_schema("result"))
    schema["$defs"]["failed"]["properties"]["code"]["enum"] = list(map(str, ErrorCode))
    return schema
