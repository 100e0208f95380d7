"""Opens a checkpoint as a user would, in a process of its own, and says in a sentence what is wrong."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quantize_lib.files import read_json
from quantize_lib.formats import Format, format_of_config
from quantize_lib.formats.loading import Loaded, LoadRequest, load_with_transformers
from quantize_lib.tasks import Task, task_of
from quantize_lib.text import plain

_NAMED = 5
"""How many tensors an error names before it counts the rest."""
_LINE_CHARACTERS = 300


class FaultyCheckpointError(Exception):
    """The checkpoint is not what it should be."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a folder's config says of how its model is loaded.

    Attributes:
        task: what the model was made for.
        format: of a checkpoint; None for a base model.
        quantization: the checkpoint's `quantization_config`.
    """

    task: Task
    format: Format | None = None
    quantization: Mapping[str, Any] = field(default_factory=dict)


def kind_of(folder: Path) -> Kind:
    """The kind of a checkpoint, or of a base model."""
    config = read_json(folder / "config.json")
    quantization = config.get("quantization_config") or {}
    return Kind(task=task_of(config), format=format_of_config(quantization), quantization=quantization)


@contextmanager
def doing(failed: str) -> Iterator[None]:
    """Says of a library's error what it was that could not be done, and keeps the error's first line.

    The libraries read foreign files here, and raise whatever they like.
    """
    try:
        yield
    except FaultyCheckpointError:
        raise
    except Exception as error:
        traceback.print_exc()
        # Advice follows in further lines, and all of it is in the log.
        line = "".join(traceback.format_exception_only(error)).strip().splitlines()[0]
        raise FaultyCheckpointError(f"{failed} ({plain(line)[:_LINE_CHARACTERS]})") from error


def request_of(
    folder: str, *, dtype: str, device: str, trust_remote_code: bool, task: Task, mode: str = ""
) -> LoadRequest:
    """What a user of this machine would ask for.

    Args:
        dtype: `float32`, or `auto` for the checkpoint's own.
        task: what the model was made for.
        mode: one of the format's ways of loading.
    """
    return LoadRequest(
        folder=folder,
        dtype=dtype,
        device=device,
        trust_remote_code=trust_remote_code,
        has_compiler=bool(shutil.which("gcc") or shutil.which("clang")),
        auto_class=task.auto_class,
        mode=mode,
    )


def open_checkpoint(folder: Path, *, device: str) -> Loaded:
    """A checkpoint or base model by the loader that its card names, in its own dtype; its code is not run.

    Args:
        device: `cpu`, `cuda` or `mps`.

    Raises:
        FaultyCheckpointError: where it does not load whole.
    """
    kind = kind_of(folder)
    request = request_of(str(folder), dtype="auto", device=device, trust_remote_code=False, task=kind.task)
    with doing("it cannot be loaded"):
        loaded = load_whole(request, kind)
    loaded.model.eval()
    return loaded


def load_whole(
    request: LoadRequest,
    kind: Kind,
    *,
    tensors: Iterable[Mapping[str, Any]] = (),
    asked: object | None = None,
) -> Loaded:
    """The model, with every tensor that it needs from the files.

    Args:
        tensors: of a base model of which some are stored quantized, each a `TensorInfo` as plain data.
        asked: how a base model is quantized as it is loaded.

    Raises:
        FaultyCheckpointError: where tensors are missing or have another shape, or where the model's class is
            code in its folder and that is not trusted.
    """
    try:
        loaded = _load(request, kind, tensors, asked)
    except ValueError as error:
        if request.trust_remote_code or "trust_remote_code" not in str(error):
            raise
        raise FaultyCheckpointError(
            "its class is code of the model's author (config.json: auto_map), which is not run here"
        ) from error
    _check_keys(loaded.info)
    return loaded


def _load(
    request: LoadRequest, kind: Kind, tensors: Iterable[Mapping[str, Any]], asked: object | None
) -> Loaded:
    if kind.format is not None:
        return kind.format.load(request, kind.quantization)
    if tensors:
        from quantize_lib.evaluate.quantized_base import load_dequantized

        return load_dequantized(request, tensors, asked)
    return load_with_transformers(request, asked)


def _check_keys(info: Mapping[str, Any]) -> None:
    """transformers only warns where tensors are missing and makes up random ones."""
    for key, what in (
        ("missing_keys", "tensors that the model needs are missing from the files"),
        ("mismatched_keys", "tensors have another shape than the model expects"),
    ):
        names = sorted(str(entry[0] if isinstance(entry, tuple) else entry) for entry in info.get(key) or ())
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            raise FaultyCheckpointError(f"{what}: {', '.join(names[:_NAMED])}{more}")
