"""Writes safetensors shards while tensors arrive, without holding them.

A safetensors file is a header and then the tensors' bytes without gaps. The header's room is reserved first
and filled in at the end (the format allows trailing spaces), so a tensor goes to disk once, at once.
What a writer has so far can be kept as JSON (`ShardWriter.sync`); another process goes on from there
(`ShardWriter.reopen`), whatever was appended since.
Format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import torch
from torch import Tensor

from quantize_lib.checkpoint.assemble import cannot_write
from quantize_lib.errors import CheckpointError

_DTYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_BY_NAME = {name: dtype for dtype, name in _DTYPES.items()}
_ALIGNMENT = 8
_ENTRY_BYTES = 256
"""Room in the header for one tensor: a name of 120 characters, dtype, shape and offsets."""


class Shard:
    """One file being written.

    Args:
        room: bytes for the header; `header_room` tells how many.
        state: what `sync` gave in another process, which is gone on with.
    """

    def __init__(self, path: Path, room: int, state: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self.size = 0
        self._room = room - room % _ALIGNMENT
        self._used = len('{"__metadata__":{"format":"pt"}}')
        self._entries: dict[str, dict[str, object]] = {}
        # Tensors whose size would leave the next one unaligned (readers map the file) wait for the end.
        self._odd: list[tuple[str, Tensor]] = []
        self._file: BinaryIO = path.open("wb" if state is None else "r+b")
        self._file.seek(8 + self._room)
        if state is not None:
            try:
                self._go_on(state)
            except BaseException:
                self._file.close()
                raise

    def _go_on(self, state: Mapping[str, Any]) -> None:
        """Stand where `sync` gave that state; what was appended since is cut off."""
        length, start = int(state["length"]), 8 + self._room
        # Nothing is behind the header's room where every tensor so far waits for the end.
        if length > start and self.path.stat().st_size < length:
            raise CheckpointError(f"{self.path.name} is shorter than it was")
        self._file.truncate(length)
        self._file.seek(length)
        self._entries = {str(name): dict(entry) for name, entry in state["entries"].items()}
        for name, dtype, shape, data in state["odd"]:
            raw = torch.tensor(list(base64.b64decode(data)), dtype=torch.uint8)
            self._odd.append((str(name), raw.view(_BY_NAME[dtype]).reshape(shape)))
        self._used += sum(map(self._cost, self.names()))
        self.size = length - start + sum(tensor.nbytes for _, tensor in self._odd)

    def sync(self) -> dict[str, Any]:
        """Put everything on disk, and say what there is."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return {
            "length": self._file.tell(),
            "entries": self._entries,
            "odd": [
                (name, _DTYPES[tensor.dtype], list(tensor.shape), base64.b64encode(_bytes(tensor)).decode())
                for name, tensor in self._odd
            ],
        }

    def names(self) -> list[str]:
        """Of its tensors."""
        return [*self._entries, *(name for name, _ in self._odd)]

    def fits(self, name: str) -> bool:
        """Whether the header still has room for one more tensor of that name."""
        return self._used + self._cost(name) <= self._room

    @staticmethod
    def _cost(name: str) -> int:
        return len(json.dumps(name)) + _ENTRY_BYTES - 120

    def add(self, name: str, tensor: Tensor) -> None:
        """Append a contiguous tensor that is on the CPU."""
        self._used += self._cost(name)
        self.size += tensor.nbytes
        if tensor.nbytes % _ALIGNMENT:
            self._odd.append((name, tensor.clone()))
        else:
            self._append(name, tensor)

    def _append(self, name: str, tensor: Tensor) -> None:
        start = self._file.tell() - 8 - self._room
        if tensor.numel():
            self._file.write(_bytes(tensor))
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
        """Close the file as it is."""
        # What was still buffered may not fit either; the descriptor is closed all the same.
        with suppress(OSError):
            self._file.close()


def is_writable(tensor: Tensor) -> bool:
    """Whether a file can hold a tensor: it has a dtype of the format, and bytes."""
    return tensor.dtype in _DTYPES and tensor.layout is torch.strided and not tensor.is_meta


def header_room(tensors: int) -> int:
    """Bytes for the header of about so many tensors."""
    return 1024 + tensors * _ENTRY_BYTES


def _bytes(tensor: Tensor) -> memoryview:
    """A contiguous CPU tensor's bytes, not copied."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def write_tensors(path: Path, tensors: Iterable[tuple[str, Tensor]], *, count: int) -> None:
    """Write one safetensors file, tensor by tensor; on disk when this returns.

    Args:
        tensors: by name, about `count` of them. They are on any device; each is moved when its turn comes.

    Raises:
        OSError: where the disk is full.
    """
    shard = Shard(path, header_room(count))
    try:
        for name, tensor in tensors:
            shard.add(name, tensor.detach().cpu().contiguous())
        shard.close()
    finally:
        shard.abandon()


class ShardWriter:
    """Appends tensors to shards of a bounded size, and names them as transformers expects.

    Args:
        folder: where the shards go; it exists.
        tensors: about how many tensors will come; sets the room for headers.
        max_shard_bytes: a shard is closed before it grows beyond this (a single larger tensor is allowed).
    """

    def __init__(self, folder: Path, *, tensors: int, max_shard_bytes: int = 5 * 10**9) -> None:
        self._folder = folder
        self._room = header_room(tensors)
        self._max = max_shard_bytes
        self._shards: list[tuple[Path, list[str]]] = []
        self._current: Shard | None = None
        self._names: set[str] = set()
        self.total_bytes = 0

    @classmethod
    def reopen(
        cls, folder: Path, state: Mapping[str, Any], *, tensors: int, max_shard_bytes: int = 5 * 10**9
    ) -> Self:
        """Go on where `sync` gave that state, with the same arguments as then.

        Whatever came later goes: tensors, shards, final names and other files in the folder.

        Raises:
            CheckpointError: where the folder does not hold what the state says.
        """
        writer = cls(folder, tensors=tensors, max_shard_bytes=max_shard_bytes)
        try:
            for number, closed in enumerate(state["closed"], 1):
                path = writer._find(number)
                if path.stat().st_size != closed["size"]:
                    raise CheckpointError(f"{path.name} has another size than it had")
                writer._shards.append((path, [str(name) for name in closed["names"]]))
            writer.total_bytes = int(state["total_bytes"])
            if state["current"] is not None:
                path = writer._find(len(writer._shards) + 1)
                writer._current = Shard(path, writer._room, state["current"])
        except (OSError, KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise CheckpointError(f"{folder.name} does not hold what was kept of it: {error}") from error
        writer._names.update(name for _, names in writer._shards for name in names)
        kept = {path.name for path, _ in writer._shards}
        if writer._current is not None:
            writer._names.update(writer._current.names())
            kept.add(writer._current.path.name)
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name not in kept:
                entry.unlink()
        return writer

    def sync(self) -> dict[str, Any]:
        """Put everything that was written on disk.

        Returns:
            What `reopen` takes, for JSON.

        Raises:
            OSError: where the disk is full.
        """
        return {
            "closed": [{"names": names, "size": path.stat().st_size} for path, names in self._shards],
            "current": None if self._current is None else self._current.sync(),
            "total_bytes": self.total_bytes,
        }

    def _part(self, number: int) -> Path:
        return self._folder / f"part-{number:05d}.safetensors"

    def _find(self, number: int) -> Path:
        """A shard under its first name, also where `finish` had given it its final one."""
        path = self._part(number)
        if not path.exists():
            finals = [*self._folder.glob(f"model-{number:05d}-of-*.safetensors")]
            if number == 1:
                finals.append(self._folder / "model.safetensors")
            for final in finals:
                if final.exists():
                    final.rename(path)
        return path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

    def abandon(self) -> None:
        """Close what is open, as it is."""
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
            shard = self._current = Shard(self._part(len(self._shards) + 1), self._room)
        shard.add(name, tensor)
        self.total_bytes += tensor.nbytes

    def _close_current(self) -> None:
        if self._current is not None:
            names = self._current.close()
            self._shards.append((self._current.path, names))
            self._current = None
