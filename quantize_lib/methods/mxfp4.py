"""MXFP4: E2M1 with a power of two for 32 neighbouring weights (OCP Microscaling Formats 1.0, 2023)."""

from __future__ import annotations

from quantize_lib.methods.common import ALLOW_PARTIAL, MODULES_TO_NOT_CONVERT
from quantize_lib.methods.fp4 import Fp4Method

RESULT = "mxfp4"
"""E2M1 numbers, and exponents (E8M0) as scales of groups."""
GROUP = 32
"""Weights that share a scale."""


METHOD = Fp4Method(
    name="mxfp4",
    slug="mxfp4",
    also_called=("mxfp4a16",),
    title="MXFP4",
    order=6,
    summary="`mxfp4`",
    bits=(4,),
    bits_note="its numbers have 4 bits",
    calibrated=False,
    settings=(MODULES_TO_NOT_CONVERT, ALLOW_PARTIAL),
    not_taken={"group_size": f"{GROUP} weights share a scale"},
    result=RESULT,
    formats=("compressed-tensors",),
    rounder="quantize_lib.engine.methods.fp4:Mxfp4",
)
