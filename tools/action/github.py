"""What a step says to GitHub: outputs and annotations that no value can break out of."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def set_outputs(environ: Mapping[str, str], values: Mapping[str, str]) -> None:
    """Append outputs to GITHUB_OUTPUT. A delimiter that nobody can guess ends each value.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions#multiline-strings
    """
    with Path(environ["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as file:
        for name, value in values.items():
            delimiter = f"end-{secrets.token_hex(16)}"
            file.write(f"{name}<<{delimiter}\n{value}\n{delimiter}\n")


def annotate(kind: str, message: str) -> None:
    """Print an annotation: `error`, `warning` or `notice`. The message is data, whatever it holds."""
    shown = "".join(char if char.isprintable() or char == "\n" else "�" for char in message)
    escaped = shown.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    print(f"::{kind} title=Model Quantizer::{escaped}", flush=True)


def read_event(environ: Mapping[str, str]) -> Mapping[str, Any]:
    """The webhook payload of this workflow run; empty where there is none."""
    path = environ.get("GITHUB_EVENT_PATH")
    if not path or not Path(path).is_file():
        return {}
    event = json.loads(Path(path).read_text(encoding="utf-8"))
    return event if isinstance(event, dict) else {}
