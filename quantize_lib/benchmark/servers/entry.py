"""What an entry says of a server: how it is started, and how it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from quantize_lib.devices import DeviceName

HOST = "127.0.0.1"
"""Servers listen on the loopback address alone."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a server has to bear.

    Attributes:
        path: the folder or file that it reads; absolute.
        words: what the format tells it besides.
        positions: tokens of the longest prompt with those that are generated.
        requests: at once, at most.
        device: where it is to compute; `auto` leaves that to it.
        port: where it listens.
    """

    path: Path
    words: tuple[str, ...]
    positions: int
    requests: int
    device: DeviceName
    port: int


class Server:
    """A program that serves models over OpenAI's interface (`/v1/completions`). A new one is a file here.

    It is started without the flags that would let it run code of a model's author. It keeps no prompt for
    later: one that it has read before would cost nothing.

    Attributes:
        name: on the command line and in the document.
        order: its place in lists.
        title: as `formats/served.py` has it.
        program: the command that its package installs.
        read_in: the version in whose source its words were read.
        version_at: the address that tells its version, and the key there.
        key_variable: the variable in which it takes the key that requests must have; None where it takes it
            only on its command line, as `key_words` says.
    """

    name: ClassVar[str]
    order: ClassVar[int]
    title: ClassVar[str]
    program: ClassVar[str]
    read_in: ClassVar[str]
    version_at: ClassVar[tuple[str, str]]
    key_variable: ClassVar[str | None] = None

    def words(self, load: Load) -> list[str]:
        """The words of its command line, without the program and the key."""
        raise NotImplementedError

    def key_words(self, key: str) -> list[str]:
        """Further words that say the key, where there is no variable for it."""
        return []

    def environment(self, device: DeviceName) -> dict[str, str]:
        """Variables that it is given besides a clean environment."""
        # Programs that were built for a GPU have no word for leaving it alone.
        return {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}

    def request(self, new_tokens: int) -> Mapping[str, Any]:
        """What of a request is its own: exactly so many tokens, and in each piece how many there are by then
        (`usage.completion_tokens` or `timings.predicted_n`)."""
        return {
            "ignore_eos": True,
            "min_tokens": new_tokens,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
