"""vLLM."""

from __future__ import annotations

from quantize_lib.benchmark.servers.entry import HOST, Load, Server
from quantize_lib.devices import DeviceName
from quantize_lib.formats.served import VLLM


class _Vllm(Server):
    name = "vllm"
    order = 1
    title = VLLM
    program = "vllm"
    read_in = "0.33.0"
    version_at = ("/version", "version")
    key_variable = "VLLM_API_KEY"

    def words(self, load: Load) -> list[str]:
        return [
            "serve",
            str(load.path),
            *load.words,
            *("--host", HOST, "--port", str(load.port)),
            *("--max-model-len", str(load.positions), "--max-num-seqs", str(load.requests)),
            "--no-enable-prefix-caching",
        ]

    def environment(self, device: DeviceName) -> dict[str, str]:
        return {**super().environment(device), "VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1"}


SERVER = _Vllm()
