"""Reads a JSON file that another process wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from quantize_lib.errors import UsageError
from quantize_lib.files import read_json


def read_checked(path: Path, name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The file's content, which is as its schema says.

    Args:
        name: the schema's, for the message.

    Raises:
        UsageError: where the file is missing, not JSON, or something else.
    """
    from jsonschema import Draft202012Validator

    try:
        data = read_json(path)
        # Results are foreign: half a character, or a number that is none, would fail wherever it is written.
        json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    problems = sorted(Draft202012Validator(dict(schema)).iter_errors(data), key=lambda e: e.json_path)
    if problems:
        lines = [f"{path}: {problem.json_path}: {problem.message}" for problem in problems[:10]]
        raise UsageError("\n".join(lines), hint=f"The form is in schemas/{name}.schema.json.")
    return cast(dict[str, Any], data)
