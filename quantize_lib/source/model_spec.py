"""A base model as the manifest names it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A base model as the manifest names it."""

    id: str
    """Hub id, or the path as written in the manifest."""
    name: str
    """The model's part of a cell id."""
    local: Path | None = None
    """Absolute path of a local model folder; None for a Hub model."""
    revision: str = "main"
    trust_remote_code: bool = False
    allow_pickle: bool = False
    allow_quantized_base: bool = False
    """Whether FP8 and MXFP4 weights are dequantized instead of being refused."""
