"""A calibrated block, or a part of it, as a method sees it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import torch

from quantize_lib.engine.block import BlockInput, Fold, LinearInput
from quantize_lib.engine.calibrator import BlockPart, CalibratedBlock

_NONE: Mapping[str, str] = {}


def block_input(
    block: CalibratedBlock,
    part: BlockPart,
    layers: Mapping[str, tuple[int, int]],
    dtype: torch.dtype,
    types: Mapping[str, str] = _NONE,
) -> BlockInput:
    """What a method gets.

    Args:
        layers: full name of each layer that the cell quantizes → (bits, group size).
        dtype: of unquantized tensors on disk.
        types: as `CellWork.types`.
    """
    inputs: dict[str, LinearInput] = {}
    for name, linear in part.linears.items():
        bits, group_size = layers[block.names[name]]
        bias = linear.bias_view
        inputs[name] = LinearInput(
            name=name,
            weight=linear.view.float(),
            bias=None if bias is None else bias.float(),
            statistics=part.statistics.get(name),
            bits=bits,
            group_size=group_size,
            kind=types.get(f"{block.names[name]}.weight", ""),
        )
    folds = usable(block.folds, part.linears)
    sources = {fold.source for fold in folds if fold.kind != "linear"}
    params = {
        name: value.float()
        for name, value in block.module.named_parameters()
        if name.rpartition(".")[0] in sources
    }
    return BlockInput(index=block.index, linears=inputs, params=params, folds=folds, dtype=dtype)


def usable(folds: Iterable[Fold], layers: Collection[str]) -> tuple[Fold, ...]:
    """The folds all of whose linear layers are among these."""
    return tuple(
        fold
        for fold in folds
        if all(target in layers for target in fold.targets)
        and (fold.kind != "linear" or fold.source in layers)
    )
