"""What the types of embedding and output layer would cost a model, each measured at the logits.

No block says what they do to its output. So a probe begins in each rounded embedding, goes through the blocks
of the base model, and ends in the rounded output layer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.pass_state import Batches, CarriedText
from quantize_lib.engine.trial_rounder import TrialRounder
from quantize_lib.methods.settings import LayerWidth

_WEIGHT = ".weight"


class OutsideCosts:
    """Takes a probe through the model once for each type of each such tensor.

    Args:
        choices: what each may have, by full name; of layers in the blocks, too, which are passed over.
        rounder: tries them.
    """

    def __init__(
        self,
        model: StreamedModel,
        probe: CarriedText,
        choices: Mapping[str, Collection[LayerWidth]],
        rounder: TrialRounder,
    ) -> None:
        self._model = model
        self._probe = probe
        self._round = rounder.round_outside
        outside = {name.removesuffix(_WEIGHT) for name in model.outside_tensors() if name.endswith(_WEIGHT)}
        self._tried = {
            f"{name} {kind}": (name, kind)
            for name in choices
            if name in outside
            for kind in choices[name]
            if isinstance(kind, str)
        }
        self._hidden: dict[str, Batches] = {}

    def embed(self) -> None:
        """Begin in each rounded embedding. Only inside the model's `outer`, with the probe embedded."""
        seen = torch.cat([ids.flatten() for ids in self._probe.batches]).unique()
        for key in self._tried:
            with self._model.replacing(self._weights(key, seen)):
                hidden = list(self._probe.embedded(self._model))
            # Where it is the output layer alone, the probe comes as it is.
            pairs = zip(hidden, self._probe.hidden, strict=True)
            if not all(torch.equal(own, given) for own, given in pairs):
                self._hidden[key] = hidden

    def advance(self, block: nn.Module, index: int) -> None:
        """Take all that began in a rounded embedding through a block."""
        for hidden in self._hidden.values():
            self._probe.advance(block, index, hidden)

    def carried(self) -> Mapping[str, Batches]:
        """What comes to the output layer, by a key for each type of each tensor."""
        return {key: self._hidden.get(key, self._probe.hidden) for key in self._tried}

    def replaced(self) -> Mapping[str, Callable[[], Mapping[str, Tensor]]]:
        """What makes the rounded tensors, by the same keys."""
        return {key: partial(self._weights, key) for key in self._tried}

    def costs(self, measured: Mapping[str, float]) -> Iterator[tuple[str, dict[LayerWidth, float]]]:
        """Each tensor's costs by type.

        Args:
            measured: the KL divergence by the same keys.
        """
        found: dict[str, dict[LayerWidth, float]] = {}
        for key, (name, kind) in self._tried.items():
            found.setdefault(name, {})[kind] = measured[key]
        yield from found.items()

    def _weights(self, key: str, rows: Tensor | None = None) -> dict[str, Tensor]:
        """A rounded tensor by its name in a checkpoint, made each time: all may be larger than a block.

        Args:
            rows: the only ones that are asked for, as tokens are looked up. Each is rounded for itself.
        """
        name, kind = self._tried[key]
        ((stored, tensor),) = self._model.read([f"{name}{_WEIGHT}"])
        if rows is None:
            weight = self._round(stored, tensor, kind).weight
        else:
            weight = tensor.float()
            weight[rows] = self._round(stored, tensor[rows], kind).weight
        return {stored: weight.to(self._model.device, self._model.compute_dtype)}
