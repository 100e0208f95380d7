"""What the types of a block's layers do to its output: one is seen, and the others compare with it.

How much a layer's own output changes for the probe tells how its types compare, without a forward for each:
on some of its rows, as a row is rounded without regard to the others. Tokens count as they do at the block's
output, by the inverse of their size there; else the first one, whose states are a thousand times larger in
some blocks, would decide alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from quantize_lib.engine.block import BlockInput
from quantize_lib.engine.block_input import block_input
from quantize_lib.engine.calibrator import BlockPart, CalibratedBlock
from quantize_lib.engine.carried import hidden_of
from quantize_lib.engine.cost_units import REFERENCE_BITS, Rounded, Unit, distance
from quantize_lib.engine.linears import Linear
from quantize_lib.engine.trial_rounder import TrialRounder
from quantize_lib.engine.watch import rows_of, watched
from quantize_lib.methods.common import NOMINAL_BITS
from quantize_lib.methods.settings import LayerWidth

_ROWS = 128
"""Rows that types are compared on, evenly spread: more change little, and rounding is what takes time."""


class TypeTrials:
    """Tries the types of layers, each of which is a unit by itself.

    Args:
        choices: the types that each may have, by full name.
        rounder: tries them.
    """

    def __init__(self, choices: Mapping[str, Iterable[LayerWidth]], rounder: TrialRounder) -> None:
        self._choices = choices
        self._rounder = rounder

    def units(
        self,
        block: CalibratedBlock,
        part: BlockPart,
        through: Callable[[Iterable[Rounded]], Tensor],
        after: Tensor,
    ) -> dict[str, Unit]:
        """The layers of a part by relative name, with what each type changes.

        Args:
            through: gives the probe's states behind the block with some layers rounded.
            after: these states behind the block as it is.

        Raises:
            EngineError: where a layer cannot be rounded.
        """
        found: dict[str, Unit] = {}
        inputs = _inputs(part.linears, through, after)
        for name, linear in part.linears.items():
            full = block.names[name]
            kinds = [kind for kind in self._choices[full] if isinstance(kind, str)]
            reference = min(kinds, key=lambda kind: abs(self._rounder.trial.bits(kind) - REFERENCE_BITS))
            alone = replace(part, linears={name: linear})
            layers, types = {full: (NOMINAL_BITS, -1)}, {f"{full}.weight": reference}
            given = block_input(block, alone, layers, self._rounder.dtype, types)
            made = (alone.linears, self._rounder.round(given))
            seen = distance(through([made]), after)
            errors = {kind: self._error(given, name, kind, inputs[name]) for kind in kinds}
            share = seen / errors[reference] if errors[reference] > 0 else 0.0
            found[name] = Unit(
                experts=False,
                layers=[full],
                changes={kind: share * error for kind, error in errors.items()},
                reference=reference,
                rounded=[made],
            )
        return found

    def _error(self, given: BlockInput, name: str, kind: str, inputs: Tensor) -> float:
        """The squared change of the outputs of some rows of a layer.

        Args:
            inputs: float32 (tokens, in).
        """
        linear = given.linears[name]
        some = linear.weight[:: max(1, len(linear.weight) // _ROWS)].contiguous()
        tried = replace(given, linears={name: replace(linear, weight=some, bias=None, kind=kind)})
        made = self._rounder.round(tried).layers[name]
        return float((inputs @ (made.weight - some).T).square().sum())


def _inputs(
    linears: Mapping[str, Linear], through: Callable[[Iterable[Rounded]], Tensor], after: Tensor
) -> dict[str, Tensor]:
    """The probe's inputs of each layer, float32 (tokens, in), as a part of its size behind the block."""
    found: dict[str, Tensor] = {}
    with watched(linears, lambda name, inputs: found.__setitem__(name, rows_of(inputs))):
        through([])
    sizes = rows_of(hidden_of(after)).square().sum(-1, keepdim=True).sqrt()
    return {name: inputs / sizes.clamp_min(torch.finfo(torch.float32).tiny) for name, inputs in found.items()}
