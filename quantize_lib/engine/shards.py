"""Opens the base model's shards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from quantize_lib.errors import SourceError


@contextmanager
def open_shard(folder: Path, file: str) -> Iterator[Any]:
    """A safetensors file, mapped; tensors and slices are read from it inside this context.

    Raises:
        SourceError: where it cannot be read.
    """
    try:
        with safe_open(folder / file, framework="pt", device="cpu") as shard:
            yield shard
    except (SafetensorError, OSError) as error:
        raise SourceError(
            f"{folder.name}/{file} cannot be read: {error}",
            hint="The file is damaged or incomplete; fetch the base model again.",
        ) from error
