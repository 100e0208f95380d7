"""Writes safetensors shards while tensors arrive, without holding them.

A safetensors file is a header and then the tensors' bytes without gaps. The header's room is reserved first
and filled in at the end (the format allows trailing spaces), so a tensor goes to disk once, at once.
Format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import torch
from torch import Tensor

from quantize_lib.checkpoint.assemble import cannot_write
from quantize_lib.errors import CheckpointError

_DTYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ALIGNMENT = 8
_ENTRY_BYTES = 256
"""Room in the header for one tensor: a name of 120 characters, dtype, shape and offsets."""


class _Shard:
    """One file being written."""

    def __init__(self, path: Path, room: int) -> None:
        self.path = path
        self.size = 0
        self._room = room - room % _ALIGNMENT
        self._used = len('{"__metadata__":{"format":"pt"}}')
        self._entries: dict[str, dict[str, object]] = {}
        # Tensors whose size would leave the next one unaligned (readers map the file) wait for the end.
        self._odd: list[tuple[str, Tensor]] = []
        self._file: BinaryIO = path.open("wb")
        self._file.seek(8 + self._room)

    def fits(self, name: str) -> bool:
        """Whether the header still has room for one more tensor of that name."""
        return self._used + self._cost(name) <= self._room

    @staticmethod
    def _cost(name: str) -> int:
        return len(json.dumps(name)) + _ENTRY_BYTES - 120

    def add(self, name: str, tensor: Tensor) -> None:
        self._used += self._cost(name)
        self.size += tensor.nbytes
        if tensor.nbytes % _ALIGNMENT:
            self._odd.append((name, tensor.clone()))
        else:
            self._append(name, tensor)

    def _append(self, name: str, tensor: Tensor) -> None:
        start = self._file.tell() - 8 - self._room
        flat = tensor.reshape(-1)
        if flat.numel():
            self._file.write(flat.view(torch.uint8).numpy().data)
        self._entries[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, start + tensor.nbytes],
        }

    def close(self) -> list[str]:
        """Fill in the header; the file is complete afterwards.

        Returns:
            The names of its tensors.
        """
        for name, tensor in sorted(self._odd, key=lambda item: -item[1].element_size()):
            self._append(name, tensor)
        header = json.dumps(
            {"__metadata__": {"format": "pt"}, **self._entries}, separators=(",", ":")
        ).encode()
        if len(header) > self._room:
            raise CheckpointError(f"{self.path.name}: the header outgrew its room")
        self._file.seek(0)
        self._file.write(self._room.to_bytes(8, "little") + header.ljust(self._room))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return list(self._entries)

    def abandon(self) -> None:
        # What was still buffered may not fit either; the descriptor is closed all the same.
        with suppress(OSError):
            self._file.close()


class ShardWriter:
    """Appends tensors to shards of a bounded size, and names them as transformers expects.

    Args:
        folder: where the shards go; it exists.
        tensors: about how many tensors will come; sets the room for headers.
        max_shard_bytes: a shard is closed before it grows beyond this (a single larger tensor is allowed).
    """

    def __init__(self, folder: Path, *, tensors: int, max_shard_bytes: int = 5 * 10**9) -> None:
        self._folder = folder
        self._room = 1024 + tensors * _ENTRY_BYTES
        self._max = max_shard_bytes
        self._shards: list[tuple[Path, list[str]]] = []
        self._current: _Shard | None = None
        self._names: set[str] = set()
        self.total_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._current is not None:
            self._current.abandon()
            self._current = None

    def discard(self) -> None:
        """Remove what was written: its room may be what other cells need."""
        if self._current is not None:
            self._current.abandon()
            self._current.path.unlink()
            self._current = None
        for path, _ in self._shards:
            path.unlink()
        self._shards.clear()

    def write(self, tensors: Mapping[str, Tensor]) -> None:
        """Append tensors by full name.

        Raises:
            CheckpointError: where the disk is full, or a name comes twice.
        """
        try:
            for name, tensor in tensors.items():
                if name in self._names:
                    raise CheckpointError(f"the tensor {name} was written twice")
                self._names.add(name)
                self._place(name, tensor.detach().cpu().contiguous())
        except OSError as error:
            raise cannot_write(self._folder, error) from error

    def finish(self) -> None:
        """Complete the last shard, give the shards their final names, write the index of several.

        Raises:
            CheckpointError: where the disk is full.
        """
        try:
            self._close_current()
            count = len(self._shards)
            weight_map: dict[str, str] = {}
            for number, (path, names) in enumerate(self._shards, 1):
                final = (
                    "model.safetensors" if count == 1 else f"model-{number:05d}-of-{count:05d}.safetensors"
                )
                path.rename(self._folder / final)
                weight_map.update(dict.fromkeys(names, final))
            if count > 1:
                index = {
                    "metadata": {"total_size": self.total_bytes},
                    "weight_map": dict(sorted(weight_map.items())),
                }
                text = json.dumps(index, indent=2) + "\n"
                (self._folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")
        except OSError as error:
            raise cannot_write(self._folder, error) from error

    def _place(self, name: str, tensor: Tensor) -> None:
        shard = self._current
        if shard is not None and (
            not shard.fits(name) or (shard.size and shard.size + tensor.nbytes > self._max)
        ):
            self._close_current()
            shard = None
        if shard is None:
            path = self._folder / f"part-{len(self._shards) + 1:05d}.safetensors"
            shard = self._current = _Shard(path, self._room)
        shard.add(name, tensor)
        self.total_bytes += tensor.nbytes

    def _close_current(self) -> None:
        if self._current is not None:
            names = self._current.close()
            self._shards.append((self._current.path, names))
            self._current = None
