"""Which of GPTQModel's kernels a reload asks for."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

_PLAIN = {"gptq": "gptq_torch", "awq": "torch_awq"}


def plain_kernel(quantization: Mapping[str, Any], device: str) -> str | None:
    """A kernel that needs no compiler, where one is needed and there is none; else None: GPTQModel chooses.

    On CUDA it takes Triton where its own kernels are not built. Triton compiles a piece of C before its first
    kernel and fails without gcc or clang (triton/runtime/build.py), which the images do not have.

    Args:
        quantization: `quantization_config` of the checkpoint.
        device: where it is loaded.
    """
    if device != "cuda" or shutil.which("gcc") or shutil.which("clang"):
        return None
    return _PLAIN.get(str(quantization.get("quant_method")))
