"""Turns a folder of shards into a checkpoint that plain transformers loads."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quantize_lib.errors import CheckpointError
from quantize_lib.files import write_json

_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def assemble(
    folder: Path,
    *,
    base: Path,
    config: Mapping[str, Any],
    quantization_config: Mapping[str, Any],
    side_files: Sequence[Path],
) -> None:
    """Add config.json and the side files of the base model to finished shards.

    Args:
        folder: the checkpoint; its shards are complete.
        base: the base model's folder.
        config: the base model's config.json; its dtype stays, because unquantized tensors keep theirs.
        quantization_config: what tells loaders how to read the packed tensors.
        side_files: files of the base model that belong to inference, inside `base`.

    Raises:
        CheckpointError: where a file cannot be written.
    """
    try:
        write_json(folder / "config.json", {**config, "quantization_config": dict(quantization_config)})
        for file in side_files:
            target = folder / file.relative_to(base)
            target.parent.mkdir(parents=True, exist_ok=True)
            # The content, not the mode or a link: a Hub cache holds links into its blob store.
            shutil.copyfile(file, target)
    except OSError as error:
        raise cannot_write(folder, error) from error


def cannot_write(folder: Path, error: Exception) -> CheckpointError:
    """The error for a folder that takes no more: its disk is full, or this user may not write there."""
    reason = (error.strerror or error) if isinstance(error, OSError) else error
    forbidden = isinstance(error, OSError) and error.errno in _FORBIDDEN
    what = "Let this user write there" if forbidden else "Free some space"
    return CheckpointError(
        f"{folder} cannot be written: {reason}",
        hint=f"{what} or choose another folder with --output, then run the same command again.",
    )


def weight_bytes(folder: Path) -> int:
    """Bytes of a checkpoint's weights on disk."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
