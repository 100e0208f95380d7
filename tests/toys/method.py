"""A method of a test: rounding to nearest. This file is all that there is of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from quantize_lib.methods.common import GROUP_SIZE, MODULES_TO_NOT_CONVERT
from quantize_lib.methods.entry import Method
from quantize_lib.methods.settings import Setting, Settings

if TYPE_CHECKING:
    from quantize_lib.engine.methods.base import Rounder

STRETCH = Setting(
    name="stretch",
    default=1,
    words={
        "title": "Stretch",
        "description": "What the scales are multiplied with.",
        "type": "integer",
        "minimum": 1,
    },
    label="stretch of the scales",
)

METHOD = Method(
    name="nearest",
    slug="rtn",
    title="Rounding to nearest",
    order=9,
    summary="`nearest`",
    bits=(4, 8),
    bits_note="that will do for a toy",
    calibrated=False,
    settings=(GROUP_SIZE, MODULES_TO_NOT_CONVERT, STRETCH),
    formats=("compressed-tensors", "gptq"),
    rounder="quantize_lib.methods.toy:make_rounder",
)


def make_rounder() -> Rounder:
    """The engine's part; a class of a module of its own, where it is no toy."""
    import torch

    from quantize_lib.engine.block import BlockInput, Drift, RoundedBlock
    from quantize_lib.engine.methods.base import Rounder, Rounding
    from quantize_lib.formats.rounded import Codes, Grid, RoundedLayer

    class Nearest(Rounding):
        def __init__(self, block: BlockInput, settings: Settings) -> None:
            self._block = block
            self._settings = settings

        def round(self, names: Collection[str], drift: Drift | None = None) -> RoundedBlock:
            layers = {}
            for name in names:
                linear = self._block.linears[name]
                rows, inputs = linear.weight.shape
                size = linear.group_size if linear.group_size > 0 else inputs
                grouped = linear.weight.reshape(rows, -1, size)
                middle = 2 ** (linear.bits - 1)
                scales = grouped.abs().amax(-1) / (middle - 1) * self._settings[STRETCH]
                scales = scales.clamp(min=1e-4).to(torch.bfloat16).to(torch.float32)
                steps = (grouped / scales[..., None]).round().clamp(-middle, middle - 1)
                layers[name] = RoundedLayer(
                    weight=(steps * scales[..., None]).flatten(1),
                    codes=Codes(
                        bits=linear.bits,
                        values=(steps + middle).flatten(1).to(torch.uint8),
                        zeros=torch.full_like(scales, middle),
                        scales=scales,
                    ),
                    bias=linear.bias,
                )
            return RoundedBlock(layers=layers)

    class NearestRounder(Rounder):
        def begin(self, block: BlockInput, settings: Settings, grid: Grid) -> Rounding:
            return Nearest(block, settings)

    return NearestRounder()
