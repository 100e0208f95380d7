"""Group scales of a block, moved so that the block returns what the base's does; codes stay as they are.

A layer's scales were chosen for that layer. What a block does to text depends on all of them together, and
with few bits much can be gained by moving each a little: the objective of AutoRound (Cheng et al. 2023, arXiv
2309.05516, section 3), with scales alone for what is learned, by Adam (Kingma and Ba 2014, arXiv 1412.6980).
To learn the codes as well lowers the error on the text that is learned from, and raises it elsewhere
(docs/explanation/accuracy.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as trees

from quantize_lib.engine.carried import hidden_of
from quantize_lib.engine.linears import Linear
from quantize_lib.engine.methods.scales import storable
from quantize_lib.formats.rounded import Codes, RoundedLayer

STEPS = 64
"""Of one batch each."""
_RATE = 2e-3
"""By how much a scale may move in the first step; in the last by next to nothing."""

Called = Callable[..., Any]
"""A block, as the model's forward calls it."""


def learn_scales(
    block: nn.Module,
    linears: Mapping[str, Linear],
    layers: Mapping[str, RoundedLayer],
    forward: Callable[[Called, int], Tensor],
    wanted: Sequence[Tensor],
) -> dict[str, RoundedLayer]:
    """The layers with other scales, and so with other weights.

    Args:
        block: as it is quantized.
        linears: its layers by relative name; each is a module.
        layers: what was made of them.
        forward: takes the batch of a number through what it is given for the block.
        wanted: what the base's block returns, by batch: (sequences, length, width).

    Raises:
        RuntimeError: where the block's class computes what cannot be differentiated.
    """
    # What is made in inference mode can have no gradient.
    with torch.inference_mode(False), torch.enable_grad():
        scaled = {
            f"{name}.weight": _Scaled(layer.codes, linears[name])
            for name, layer in layers.items()
            if layer.codes is not None
        }
        fixed = {
            name: _own(tensor)
            for name, tensor in (*block.named_parameters(), *block.named_buffers())
            if name not in scaled
        }

        def called(*args: Any, **kwargs: Any) -> Any:
            weights = {name: one.weight() for name, one in scaled.items()}
            return functional_call(block, fixed | weights, *trees.tree_map_only(Tensor, _own, (args, kwargs)))

        optimizer = torch.optim.Adam([one.factors for one in scaled.values()], lr=_RATE)
        falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1 / STEPS, STEPS - 1)
        for step in range(STEPS):
            number = step % len(wanted)
            optimizer.zero_grad()
            distance(forward(called, number), _own(wanted[number])).backward()
            optimizer.step()
            falling.step()
        return {
            name: layer if layer.codes is None else scaled[f"{name}.weight"].rounded(layer, layer.codes)
            for name, layer in layers.items()
        }


def distance(returned: Tensor, wanted: Tensor) -> Tensor:
    """The mean over tokens of ‖r - w‖²/‖w‖²: some tokens' states are a thousand times as large as others'.

    Args:
        returned, wanted: what blocks return (…, width), or what `pack` made of more than that.
    """
    ours, theirs = hidden_of(returned).float(), hidden_of(wanted).float()
    sizes = theirs.square().sum(-1).clamp(min=torch.finfo(torch.float32).tiny)
    return ((ours - theirs).square().sum(-1) / sizes).mean()


class _Scaled:
    """A layer's weight as its scales say.

    Args:
        linear: a module.

    Attributes:
        factors: what the scales are multiplied with, float32 (out, groups): ones at first.
    """

    def __init__(self, codes: Codes, linear: Linear) -> None:
        self._upright = isinstance(linear.module, nn.Linear)
        self._dtype = linear.view.dtype
        self._scales = _own(codes.scales).float()
        self._group_of = None if codes.group_of is None else _own(codes.group_of)
        self._inputs = codes.values.shape[1]
        # Codes minus zero points, (out, in).
        self._steps = _own(codes.values).float() - self._by_input(_own(codes.zeros).float())
        self.factors = torch.ones_like(self._scales, requires_grad=True)

    def weight(self) -> Tensor:
        """What the module is to have; what is done with it tells the factors' gradient."""
        weight = self._meaning(self._scales * self.factors).to(self._dtype)
        return weight if self._upright else weight.T

    def rounded(self, layer: RoundedLayer, codes: Codes) -> RoundedLayer:
        """The layer with its scales as they are now, as a checkpoint holds them."""
        with torch.no_grad():
            scales = storable(self._scales * self.factors)
            return replace(layer, weight=self._meaning(scales), codes=replace(codes, scales=scales))

    def _meaning(self, scales: Tensor) -> Tensor:
        return self._steps * self._by_input(scales)

    def _by_input(self, values: Tensor) -> Tensor:
        """Values of groups, (out, groups), as (out, in)."""
        if self._group_of is not None:
            return values[:, self._group_of]
        # The gradient of a view is summed up much faster than that of an index.
        size = self._inputs // values.shape[1]
        return values.unsqueeze(-1).expand(-1, -1, size).flatten(1)


def _own(tensor: Tensor) -> Tensor:
    """The tensor, or where it was made in inference mode a copy that can have a part in a gradient."""
    return tensor.clone() if tensor.is_inference() else tensor
