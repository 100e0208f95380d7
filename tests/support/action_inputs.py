"""Inputs of the action as its first step gets them, and events that start it."""

from __future__ import annotations

import json
from pathlib import Path

from tools.action import inputs

EVENTS = Path(__file__).resolve().parents[1] / "actions" / "events"
PUSH = json.loads((EVENTS / "push.json").read_text(encoding="utf-8"))
FORK = json.loads((EVENTS / "pull_request_fork.json").read_text(encoding="utf-8"))
DEFAULTS = {
    **{f"INPUT_{name.upper().replace('-', '_')}": value for name, value in inputs.DEFAULTS.items()},
    "GITHUB_REPOSITORY": "acme/models",
}
