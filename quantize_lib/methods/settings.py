"""How one cell is quantized."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

MethodName = Literal["gptq", "awq", "bitsandbytes"]


GroupSize = int | Literal["auto"]


METHOD_SLUG: Mapping[MethodName, str] = {"gptq": "gptq", "awq": "awq", "bitsandbytes": "bnb"}
"""How a method is written in a cell id and in a name template."""


@dataclass(frozen=True, kw_only=True)
class Override:
    """Other settings for the modules whose full name matches a glob pattern."""

    modules: str
    bits: int | None = None
    group_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one cell is quantized. What does not belong to the method keeps its default."""

    method: MethodName
    bits: int
    group_size: GroupSize = "auto"
    desc_act: bool = False
    sym: bool = True
    modules_to_not_convert: tuple[str, ...] = ()
    """Glob patterns on full module names; matching linear layers stay in full precision."""
    overrides: tuple[Override, ...] = ()
    quant_type: Literal["nf4", "fp4"] = "nf4"
    double_quant: bool = True
