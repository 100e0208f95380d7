"""Rounds blocks and packs them, as the tensors that a checkpoint would hold."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import cast

import torch
from torch import Tensor, nn

from quantize_lib.engine.block import BlockInput, Drift, RoundedBlock
from quantize_lib.engine.methods.base import Rounder, Rounding, rounder_of
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.pack import pack_block
from quantize_lib.engine.shared_pass import SharedPass
from quantize_lib.formats import CheckpointContext, Format, Traits, resolve_format
from quantize_lib.formats.rounded import Grid
from quantize_lib.methods import Settings, get_method


@dataclass(frozen=True, kw_only=True)
class PackedBlock:
    """What a method and a format made of a block.

    Attributes:
        rounded: by the method.
        tensors: by relative name, as the format stores them.
    """

    rounded: RoundedBlock
    tensors: Mapping[str, Tensor]

    @property
    def weights(self) -> dict[str, Tensor]:
        """The dequantized weights, float32 (out, in)."""
        return {name: layer.weight for name, layer in self.rounded.layers.items()}


def format_for(settings: Settings, model_type: str = "llama") -> Format:
    """The format of a cell of this family."""
    return resolve_format(settings, Traits(model_type=model_type, conv1d=model_type == "gpt2"))


def grid_for(settings: Settings, model_type: str = "llama") -> Grid:
    """The grid of a cell of this family."""
    return format_for(settings, model_type).grid(get_method(settings.method), settings)


def round_block(block: BlockInput, settings: Settings, *, model_type: str = "llama") -> RoundedBlock:
    """Round a block as a cell of this family does."""
    rounder = rounder_of(get_method(settings.method))
    return rounder.round(block, settings, grid_for(settings, model_type))


def make_block(
    block: BlockInput, settings: Settings, *, model_type: str = "llama", module: nn.Module | None = None
) -> PackedBlock:
    """Round a block and pack it as a cell of this family does.

    Args:
        module: the block in full precision, where a format may want tensors of its own in it.
    """
    rounded = round_block(block, settings, model_type=model_type)
    tensors = pack(
        format_for(settings, model_type), rounded, block.dtype, model_type=model_type, module=module
    )
    return PackedBlock(rounded=rounded, tensors=tensors)


def pack(
    chosen: Format,
    rounded: RoundedBlock,
    dtype: torch.dtype,
    *,
    model_type: str = "llama",
    module: nn.Module | None = None,
) -> dict[str, Tensor]:
    """A rounded block's tensors; `dtype` is that of unquantized ones on disk."""
    model = SimpleNamespace(disk_dtype=dtype, config=SimpleNamespace(model_type=model_type))
    return pack_block(chosen, cast(StreamedModel, model), module or nn.Module(), rounded)


def checkpoint_context(
    settings: Settings,
    quantized: Mapping[str, tuple[int, int]],
    *,
    group_size: int,
    blocks: str = "model.layers",
    kept: tuple[str, ...] = (),
    outside: tuple[str, ...] = (),
    dtype: torch.dtype = torch.bfloat16,
    model_type: str = "llama",
) -> CheckpointContext:
    """What a format must know of a whole checkpoint; see `CheckpointContext`."""
    return CheckpointContext(
        method=get_method(settings.method),
        settings=settings,
        grid=grid_for(settings, model_type),
        group_size=group_size,
        blocks=blocks,
        quantized=quantized,
        kept=kept,
        outside=outside,
        dtype=str(dtype).removeprefix("torch."),
    )


class Recording(Rounder):
    """Passes everything through and keeps what the method made of each block."""

    def __init__(self, rounder: Rounder) -> None:
        self._rounder = rounder
        self.outputs: dict[int, RoundedBlock] = {}

    def begin(self, block: BlockInput, settings: Settings, grid: Grid) -> Rounding:
        rounding = self._rounder.begin(block, settings, grid)
        self._keep(block.index, RoundedBlock(layers={}, params=rounding.params))
        return _Recorded(rounding, partial(self._keep, block.index))

    def _keep(self, index: int, made: RoundedBlock) -> None:
        before = self.outputs.get(index, RoundedBlock(layers={}))
        # A block comes bit by bit.
        self.outputs[index] = replace(
            made,
            layers={**before.layers, **made.layers},
            params={**before.params, **made.params},
            modules={**before.modules, **made.modules},
        )


class _Recorded(Rounding):
    def __init__(self, rounding: Rounding, keep: Callable[[RoundedBlock], None]) -> None:
        self._rounding = rounding
        self._keep = keep
        self.params = rounding.params

    def round(self, names: Collection[str], drift: Drift | None = None) -> RoundedBlock:
        made = self._rounding.round(names, drift)
        self._keep(made)
        return made


def record(
    shared: SharedPass, wrap: Callable[[Rounder], Recording] = Recording, *, cell: str | None = None
) -> dict[str, Recording]:
    """Put recordings before the rounders of a pass that has not begun.

    Args:
        wrap: what to put before a rounder.
        cell: the id of the only cell that is recorded.

    Returns:
        By cell id.
    """
    made = {name: wrap(rounder) for name, rounder in shared._rounders.items() if cell in (None, name)}
    shared._rounders.update(made)
    return made
