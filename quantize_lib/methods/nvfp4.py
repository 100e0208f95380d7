"""NVFP4: E2M1 with an E4M3 scale for 16 neighbouring weights (NVIDIA 2025, arXiv 2509.25149, section 2)."""

from __future__ import annotations

from quantize_lib.methods.common import ALLOW_PARTIAL, MODULES_TO_NOT_CONVERT
from quantize_lib.methods.fp4 import Fp4Method

RESULT = "nvfp4"
"""E2M1 numbers, E4M3 scales of groups, and a scale of these scales."""
GROUP = 16
"""Weights that share a scale."""


METHOD = Fp4Method(
    name="nvfp4",
    slug="nvfp4",
    also_called=("nvfp4a16",),
    title="NVFP4",
    order=5,
    summary="`nvfp4`",
    bits=(4,),
    bits_note="its numbers have 4 bits",
    calibrated=False,
    settings=(MODULES_TO_NOT_CONVERT, ALLOW_PARTIAL),
    not_taken={"group_size": f"{GROUP} weights share a scale"},
    result=RESULT,
    formats=("compressed-tensors",),
    rounder="quantize_lib.engine.methods.fp4:Nvfp4",
)
