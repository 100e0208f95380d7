"""A folder that is to be loaded as it is: a checkpoint, or a base model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantize_lib.architecture.language_model import positions
from quantize_lib.architecture.tensors import TensorInfo
from quantize_lib.errors import UsageError
from quantize_lib.files import read_json
from quantize_lib.source.headers import read_header


def checkpoint_config(folder: Path) -> dict[str, Any]:
    """A checkpoint's `config.json`.

    Raises:
        UsageError: where there is none, or it is no JSON object.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise UsageError(f"{folder} is no checkpoint: it has no config.json")
    try:
        config = read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{folder} is no checkpoint: its config.json cannot be read ({error})") from error
    if not isinstance(config, dict):
        raise UsageError(f"{folder} is no checkpoint: its config.json holds no JSON object")
    return config


def checkpoint_positions(folder: Path, config: Mapping[str, Any]) -> int | None:
    """How many tokens a sequence may have, as far as config and headers say; None where there is no end.

    Args:
        config: the folder's.
    """
    tensors: dict[str, TensorInfo] = {}
    for path in folder.glob("*.safetensors"):
        tensors |= read_header(path, file=path.name)
    return positions(config, tensors)
