"""Which servers read checkpoints, and what they are told of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from pathlib import Path

VLLM = "vLLM"
SGLANG = "SGLang"
LLAMA_CPP = "llama.cpp"
SERVERS = (VLLM, SGLANG)
"""Those that read folders of safetensors."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """How the weights of a checkpoint are rounded, for who serves it.

    Attributes:
        bits: of every layer.
        group_size: resolved; -1 for one group per row, and where the method has none.
        symmetric: whether all zero points are in the middle.
    """

    bits: int
    group_size: int
    symmetric: bool


class ServedFormat:
    """What a format says to servers.

    Attributes:
        servers: those that read it, as read in their sources.
    """

    servers: ClassVar[tuple[str, ...]] = SERVERS

    def served_words(self, quantization: Mapping[str, Any]) -> tuple[str, ...]:
        """What the server is told of a checkpoint that it does not find in its config.

        Args:
            quantization: the checkpoint's `quantization_config`.
        """
        return ()

    def served_path(self, folder: Path, quantization: Mapping[str, Any]) -> Path:
        """What the server is given to read: the folder, or the one file that is the checkpoint.

        Args:
            quantization: the checkpoint's `quantization_config`, which may be anybody's.

        Raises:
            ValueError: where that names a file outside the folder.
        """
        return folder
