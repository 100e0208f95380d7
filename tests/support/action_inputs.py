"""Inputs of the action as its first step gets them, and events that start it."""

from __future__ import annotations

import json
from pathlib import Path

EVENTS = Path(__file__).resolve().parents[1] / "actions" / "events"
PUSH = json.loads((EVENTS / "push.json").read_text(encoding="utf-8"))
FORK = json.loads((EVENTS / "pull_request_fork.json").read_text(encoding="utf-8"))
DEFAULTS = {
    "INPUT_MANIFEST": "quantize.yml",
    "INPUT_COMMAND": "run",
    "INPUT_ONLY": "",
    "INPUT_EXECUTOR": "docker",
    "INPUT_DEVICE": "auto",
    "INPUT_IMAGE": "",
    "INPUT_PUBLISH": "true",
    "INPUT_CHANGED_ONLY": "false",
    "INPUT_OUTPUT": "output",
    "INPUT_HF_TOKEN_READ": "",
    "INPUT_HF_TOKEN_WRITE": "",
    "INPUT_CACHE": "true",
    "INPUT_ARTIFACTS": "false",
    "GITHUB_REPOSITORY": "acme/models",
}
