"""SGLang."""

from __future__ import annotations

from quantize_lib.benchmark.servers.entry import HOST, Load, Server
from quantize_lib.devices import DeviceName
from quantize_lib.formats.served import SGLANG

_MARGIN = 8
"""Positions of a request that it keeps free."""


class _Sglang(Server):
    name = "sglang"
    order = 2
    title = SGLANG
    program = "sglang"
    read_in = "0.5.23"
    version_at = ("/server_info", "version")

    def words(self, load: Load) -> list[str]:
        return [
            *("serve", "--model-path", str(load.path)),
            *load.words,
            *("--host", HOST, "--port", str(load.port)),
            *("--context-length", str(load.positions + _MARGIN)),
            *("--max-running-requests", str(load.requests)),
            "--disable-radix-cache",
            *(("--device", "cpu") if load.device == "cpu" else ()),
        ]

    def environment(self, device: DeviceName) -> dict[str, str]:
        # The margin may go beyond what the model's config says.
        return {**super().environment(device), "SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN": "1"}

    def key_words(self, key: str) -> list[str]:
        return ["--api-key", key]


SERVER = _Sglang()
