"""The servers that a benchmark measures through. One entry a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from quantize_lib.benchmark.servers.entry import Load, Server
from quantize_lib.registry import find_entries, get_entry

__all__ = ["SERVERS", "Load", "Server", "get_server"]

SERVERS = cast(Mapping[str, Server], find_entries(__name__, __path__, "SERVER"))
"""By name, in the order in which they are listed."""


def get_server(name: str) -> Server:
    """The entry of that name.

    Raises:
        KeyError: where there is none.
    """
    return get_entry(SERVERS, name, "server")
