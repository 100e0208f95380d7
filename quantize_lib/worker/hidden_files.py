"""Hidden states on disk: as a pass's state, and as the place where they are while blocks work on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from quantize_lib.checkpoint.shards import Shard, header_room
from quantize_lib.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

    from quantize_lib.engine.pass_state import Batches


class HiddenFile:
    """A safetensors file with the batches of several texts, `NAME:0`, `NAME:1` and so on.

    Nothing of it stays open: pages of a mapped file count as resident memory while the mapping lasts.

    Attributes:
        counts: how many batches there are, by the text's name.
    """

    def __init__(self, path: Path) -> None:
        """Read the names.

        Raises:
            CheckpointError: where the file is damaged.
        """
        from safetensors import SafetensorError, safe_open

        self.path = path
        self.counts: dict[str, int] = {}
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                for key in file.keys():  # noqa: SIM118 - no mapping
                    name, _, number = key.rpartition(":")
                    self.counts[name] = max(self.counts.get(name, 0), int(number) + 1)
        except SafetensorError as error:
            raise CheckpointError(f"{path} is damaged: {error}") from error

    def batch(self, name: str, number: int) -> Tensor:
        """A batch, mapped from the file: its pages are read when they are used, and go with the tensor."""
        from safetensors import safe_open

        with safe_open(self.path, framework="pt", device="cpu") as file:
            tensor: Tensor = file.get_tensor(f"{name}:{number}")
        return tensor


class Spilled:
    """A text's hidden states in a `Spill`, one batch in memory at a time. It is the pass's `Batches`."""

    def __init__(self, spill: Spill, name: str, *, source: str, count: int) -> None:
        """`source` is the text whose states these are until they are first replaced."""
        self._spill = spill
        self._name = name
        self.source = source
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int, /) -> Tensor:
        return self._spill.take((self._name, self.source), number)

    def __setitem__(self, number: int, states: Tensor, /) -> None:
        self._spill.put(self._name, number, states)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[number] for number in range(self._count))


class Spill(Mapping[str, "Batches"]):
    """The hidden states of a pass in two files: one that a block reads, one that it writes for the next.

    So they are the pass's state as well: `turn` completes the file that `PassFolder` names, and what it
    named before is untouched until then.

    Args:
        folder: the pass's.
        blocks: how many are finished.
        room: about how many batches there are, of all texts.
        current: what the next block reads; None where the texts have still to be held.
    """

    def __init__(
        self, folder: Path, *, room: int, blocks: int = 0, current: HiddenFile | None = None
    ) -> None:
        self._folder = folder
        self._room = header_room(room)
        self._number = blocks if current is None else blocks + 1
        self._current = current
        self._next: Shard | None = None

    def hold(self, name: str, batches: Iterable[Tensor]) -> Batches:
        """Take a text's hidden states, one batch after the other; those that are here already stay."""
        if isinstance(batches, Spilled):
            return Spilled(self, name, source=batches.source, count=len(batches))
        count = 0
        for states in batches:
            self.put(name, count, states)
            count += 1
        return Spilled(self, name, source=name, count=count)

    def take(self, names: tuple[str, ...], number: int) -> Tensor:
        """A batch of the first of these texts that is here."""
        if self._current is None:
            # The texts were held; nothing has been read so far.
            self.turn()
        current = self._current
        name = next((name for name in names if current is not None and name in current.counts), None)
        if current is None or name is None:
            raise CheckpointError(f"{self._folder} has no hidden states of {names[0]}")
        return current.batch(name, number)

    def put(self, name: str, number: int, states: Tensor) -> None:
        """Write a batch for the next block.

        Raises:
            OSError: where the disk is full.
        """
        if self._next is None:
            self._next = Shard(self._folder / f"hidden-{self._number:05d}.safetensors", self._room)
        self._next.add(f"{name}:{number}", states.detach().cpu().contiguous())

    def turn(self) -> Path:
        """Complete what was written: on disk when this returns, and what is read from now on."""
        if self._next is None:
            raise CheckpointError(f"{self._folder}: no hidden states were written")
        self._next.close()
        self._current = HiddenFile(self._next.path)
        self._next = None
        self._number += 1
        return self._current.path

    def abandon(self) -> None:
        """Close what was written for the next block, as it is."""
        if self._next is not None:
            self._next.abandon()
            self._next = None

    def __getitem__(self, name: str) -> Batches:
        if self._current is None:
            raise KeyError(name)
        return Spilled(self, name, source=name, count=self._current.counts[name])

    def __iter__(self) -> Iterator[str]:
        return iter(() if self._current is None else self._current.counts)

    def __len__(self) -> int:
        return 0 if self._current is None else len(self._current.counts)
