"""A model's architecture as JSON, for a process that compares it with the model's class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from quantize_lib.architecture.facts import Architecture
from quantize_lib.architecture.tensors import LayerInfo, TensorInfo


def to_json(name: str, facts: Architecture) -> dict[str, Any]:
    """What names, shapes and config say of a model.

    Args:
        name: of the model, for messages.
    """
    return {
        "name": name,
        "config": dict(facts.config),
        "tensors": [_plain(info) for info in facts.tensors.values()],
        "layers": [asdict(layer) for layer in facts.layers],
        "kept": dict(facts.kept),
        "blocks": list(facts.blocks),
    }


def _plain(info: TensorInfo) -> dict[str, Any]:
    # How the files hold it says nothing of the class.
    return {"name": info.name, "dtype": info.dtype, "shape": list(info.shape), "file": info.file}


def from_json(question: Mapping[str, Any]) -> Architecture:
    """The architecture that `to_json` was given, without notes and strays."""
    tensors = [TensorInfo(**{**info, "shape": tuple(info["shape"])}) for info in question["tensors"]]
    return Architecture(
        config=question["config"],
        tensors={info.name: info for info in tensors},
        layers=tuple(LayerInfo(**layer) for layer in question["layers"]),
        kept=question["kept"],
        blocks=tuple(question["blocks"]),
    )
