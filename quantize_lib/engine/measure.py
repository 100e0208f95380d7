"""What the metrics say of held-out text that came through the blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.pass_state import Batches, CarriedText
from quantize_lib.logits import Predictions
from quantize_lib.metrics import MEANS
from quantize_lib.reporting import Reporter

_Made = Callable[[], Mapping[str, Tensor]]
_NONE: Mapping[str, _Made] = {}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What each metric accumulates per token, by its name, float32 (sequences, length - 1).

    Attributes:
        base: of the full-precision model; without the metrics that compare with it.
        cells: of each cell, by id.
        base_logits: float32 (sample, length, vocabulary) of the first sequences; None where there is no text.
    """

    base: Mapping[str, Tensor] = field(default_factory=dict)
    cells: Mapping[str, dict[str, Tensor]] = field(default_factory=dict)
    base_logits: Tensor | None = None


def measure(
    model: StreamedModel,
    text: CarriedText,
    carried: Mapping[str, Batches],
    *,
    outside: Mapping[str, _Made] = _NONE,
    sample: int,
    reporter: Reporter,
) -> Measured:
    """Measure the base model and every cell.

    Args:
        text: held-out text after the last block.
        carried: its hidden states after each cell's last block, by the cell's id.
        outside: of cells that have other tensors outside the blocks than the base model, what makes these, by
            name: embedding and output layer may be larger than all that a block has, so that they take turns.
        sample: how many sequences' base logits to keep.
    """
    base_tokens = _Tokens()
    kept: Tensor | None = None
    tokens = {cell_id: _Tokens() for cell_id in carried}
    alike = [cell_id for cell_id in carried if cell_id not in outside]
    turns = len(text.batches) * (1 + len(outside))
    with model.outer(), reporter.progress("Measuring", turns, "sequence") as progress:
        for number, batch in enumerate(text.batches):
            ids = batch.to(model.device)
            logits = model.head(ids, text.hidden[number])
            if number < sample:
                if kept is None:
                    kept = torch.empty(min(sample, len(text.batches)), *logits.shape[1:])
                kept[number] = logits[0]
            base = Predictions(logits)
            base_tokens.add(base, None, ids)
            # Before the next ones are made.
            del logits
            for cell_id in alike:
                tokens[cell_id].add(Predictions(model.head(ids, carried[cell_id][number])), base, ids)
            del base
            progress.advance()
        for cell_id, make in outside.items():
            values = make()
            for number, batch in enumerate(text.batches):
                ids = batch.to(model.device)
                base = Predictions(model.head(ids, text.hidden[number]))
                with model.replacing(values):
                    tokens[cell_id].add(Predictions(model.head(ids, carried[cell_id][number])), base, ids)
                del base
                progress.advance()
            del values
    return Measured(
        base=base_tokens.whole(),
        cells={cell_id: values.whole() for cell_id, values in tokens.items()},
        base_logits=kept,
    )


class _Tokens:
    """Gathers what each metric says of the tokens, batch by batch."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = {}

    def add(self, model: Predictions, base: Predictions | None, ids: Tensor) -> None:
        """Measure a batch; without `base` by the metrics that do not compare."""
        for metric in MEANS.values():
            if base is not None or not metric.compares:
                values = metric.per_token(model, base, ids)
                self._values.setdefault(metric.name, []).append(values.cpu())

    def whole(self) -> dict[str, Tensor]:
        """All of it, by the metric's name."""
        return {name: torch.cat(values) for name, values in self._values.items()}
