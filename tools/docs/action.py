"""Inputs, outputs and secrets of the action and of the reusable workflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools.docs.markdown import code, table


def tables(action: Mapping[Any, Any], workflow: Mapping[Any, Any]) -> dict[str, str]:
    """`action.KIND` and `workflow.KIND` for everything that they declare."""
    # YAML 1.1 reads the key `on` as true.
    call = workflow[True]["workflow_call"]
    return {
        "action.inputs": _table(action["inputs"], with_default=True),
        "action.outputs": _table(action["outputs"], with_default=False),
        "workflow.inputs": _table(call["inputs"], with_default=True),
        "workflow.secrets": _table(call["secrets"], with_default=False),
        "workflow.outputs": _table(call["outputs"], with_default=False),
    }


def _table(rows: Mapping[str, Mapping[str, Any]], *, with_default: bool) -> str:
    head = ["Name", *(["Default"] if with_default else []), "Meaning"]
    return table(
        head,
        (
            [
                code(name),
                *([code(str(words.get("default", "")).lower())] if with_default else []),
                words["description"],
            ]
            for name, words in rows.items()
        ),
    )
