"""Turns a folder of shards into a checkpoint that plain transformers loads."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quantize_lib.errors import CheckpointError
from quantize_lib.files import write_json, write_text
from quantize_lib.formats import weight_files

_CODE_KEY = "auto_map"
"""Where files name the Python classes that transformers is to load them with."""
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def assemble(
    folder: Path,
    *,
    base: Path,
    config: Mapping[str, Any],
    quantization_config: Mapping[str, Any],
    side_files: Sequence[Path],
    code: bool = False,
) -> None:
    """Add config.json and the side files of the base model to finished shards.

    Args:
        folder: the checkpoint; its shards are complete.
        base: the base model's folder.
        config: the base model's config.json; its dtype stays, because unquantized tensors keep theirs.
        quantization_config: what tells loaders how to read the packed tensors.
        side_files: files of the base model that belong to inference, inside `base`.
        code: whether the base model's own Python files are among them; where not, nothing names them either
            (`auto_map`), so that the checkpoint loads for who trusts remote code, too.

    Raises:
        CheckpointError: where a file cannot be written.
    """
    try:
        config = {**config, "quantization_config": dict(quantization_config)}
        write_json(folder / "config.json", config if code else _without_code(config))
        for file in side_files:
            target = folder / file.relative_to(base)
            target.parent.mkdir(parents=True, exist_ok=True)
            described = None if code else _code_free(file)
            if described is not None:
                write_text(target, described)
                continue
            # The content, not the mode or a link: a Hub cache holds links into its blob store.
            shutil.copyfile(file, target)
    except OSError as error:
        raise cannot_write(folder, error) from error


def _code_free(file: Path) -> str | None:
    """The text of a small config file that names Python code, without that; None where it names none."""
    if not file.name.endswith("_config.json"):
        return None
    try:
        value = json.loads(file.read_text(encoding="utf-8-sig"))
        kept = _without_code(value)
    except (ValueError, RecursionError):
        # Whatever it is, it is who reads it that says so.
        return None
    return None if kept == value else json.dumps(kept, indent=2) + "\n"


def _without_code(value: Any) -> Any:
    """JSON without its `auto_map`, at any depth: a processor's file holds those of its parts."""
    if isinstance(value, Mapping):
        return {key: _without_code(item) for key, item in value.items() if key != _CODE_KEY}
    return [_without_code(item) for item in value] if isinstance(value, list) else value


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
    return sum(file.stat().st_size for file in weight_files(folder))
