"""Method names and where they live; a method is imported at its first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from quantize_lib.methods.settings import MethodName

if TYPE_CHECKING:
    from quantize_lib.engine.methods.base import Method

_METHODS: dict[MethodName, str] = {
    "gptq": "quantize_lib.engine.methods.gptq:Gptq",
    "awq": "quantize_lib.engine.methods.awq:Awq",
    "bitsandbytes": "quantize_lib.engine.methods.bitsandbytes:BitsAndBytes",
}


def get_method(name: MethodName) -> Method:
    """The method of that name."""
    module, _, attribute = _METHODS[name].partition(":")
    return cast("Method", getattr(import_module(module), attribute)())
