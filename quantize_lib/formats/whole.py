"""A whole model, for formats that store more of it in their own way than the layers of the blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class WholeModel:
    """What such a format looks at.

    Attributes:
        config: the language model's part of `config.json`, with its class's defaults.
        shapes: of every tensor that the model's class loads, by its name on disk.
        kept: those of them that are to stay as they are.
        dtypes: of them on disk, as safetensors calls them.
    """

    config: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    kept: frozenset[str] = field(default_factory=frozenset)
    dtypes: Mapping[str, str] = field(default_factory=dict)
