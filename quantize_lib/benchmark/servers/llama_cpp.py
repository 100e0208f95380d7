"""llama.cpp's own server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantize_lib.benchmark.servers.entry import HOST, Load, Server
from quantize_lib.formats.served import LLAMA_CPP

_MARGIN = 2
"""Positions of a request that it never fills."""


class _LlamaCpp(Server):
    name = "llama.cpp"
    order = 3
    title = LLAMA_CPP
    program = "llama-server"
    read_in = "0c1e570"
    version_at = ("/props", "build_info")
    key_variable = "LLAMA_API_KEY"

    def words(self, load: Load) -> list[str]:
        cache = load.requests * (load.positions + _MARGIN)
        return [
            *("--model", str(load.path)),
            *load.words,
            *("--host", HOST, "--port", str(load.port)),
            *("--ctx-size", str(cache), "--parallel", str(load.requests)),
            # One cache for all requests, which is no larger than they need together.
            *("--kv-unified", "--cache-ram", "0"),
            *("--no-webui", "--offline"),
            *(("--device", "none") if load.device == "cpu" else ()),
        ]

    def request(self, new_tokens: int) -> Mapping[str, Any]:
        return {"ignore_eos": True, "cache_prompt": False, "timings_per_token": True}


SERVER = _LlamaCpp()
