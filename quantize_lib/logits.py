"""What a language model's logits say of a text: the arithmetic of metrics.

The last position of a sequence predicts nothing that the text holds, so every figure stands over the first
`length - 1` positions: token t + 1 is predicted at position t.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from quantize_lib.sizing import LOGITS_CHUNK_VALUES


class Predictions:
    """What a model predicts for each next token, with what several metrics need worked out once.

    Attributes:
        shape: (batch, length - 1).
        rows: the logits of each, any floating dtype, (batch × (length - 1), vocabulary).
    """

    def __init__(self, logits: Tensor) -> None:
        """Of logits of any floating dtype, (batch, length, vocabulary), which must not change from now on."""
        self.shape = (logits.shape[0], logits.shape[1] - 1)
        self.rows = logits[:, :-1].reshape(-1, logits.shape[-1])

    @cached_property
    def largest(self) -> Tensor:
        """The largest logit of each row, float32."""
        return self._sums[0]

    @cached_property
    def log_sum(self) -> Tensor:
        """Log of the sum of exp(logit - largest) of each row, float32; not finite where the logits are not.

        With `largest` in one number it would lose the digits in which distributions differ.
        """
        return self._sums[1]

    @cached_property
    def top(self) -> Tensor:
        """Where the largest logit of each row is; of equal ones the first. A NaN is the largest."""
        return self.rows.argmax(-1)

    @cached_property
    def _sums(self) -> tuple[Tensor, Tensor]:
        largest, log_sum = (
            torch.empty(self.rows.shape[0], dtype=torch.float32, device=self.rows.device) for _ in range(2)
        )
        for part in _chunks(*self.rows.shape):
            chunk = self.rows[part].float()
            largest[part] = chunk.amax(1)
            log_sum[part] = (chunk - largest[part, None]).exp_().sum(1).log_()
        return largest, log_sum


def token_nll(model: Predictions, ids: Tensor) -> Tensor:
    """Negative log-likelihood of every predicted token.

    Args:
        ids: int64 (batch, length), on the same device.

    Returns:
        float32 (batch, length - 1), nats. Not finite where the logits are not.
    """
    picked = model.rows.gather(1, ids[:, 1:].reshape(-1, 1)).squeeze(1).float()
    return (model.log_sum + (model.largest - picked)).view(model.shape)


def token_kl(base: Predictions, model: Predictions) -> Tensor:
    """KL(base ‖ quantized) of the next-token distributions (Kullback and Leibler, 1951).

    Args:
        base, model: of the same text, on the same device.

    Returns:
        float32 (batch, length - 1), nats. Not finite where one of the logits is not, or where the quantized
        model rules out what the base model allows.
    """
    result = torch.empty_like(model.log_sum)
    # By how much all logits of a row are larger changes no distribution.
    shift = base.largest - model.largest
    for part in _chunks(*model.rows.shape):
        before, after = base.rows[part].float(), model.rows[part].float()
        shares = (before - (base.largest + base.log_sum)[part, None]).exp_()
        terms = (before - after).sub_(shift[part, None]).mul_(shares)
        sums = terms.sum(1)
        if not bool(sums.isfinite().all()):
            # What the base rules out (-inf) adds nothing; a NaN stays a NaN.
            sums = terms.masked_fill_(before == -math.inf, 0.0).sum(1)
        result[part] = sums
    # Rounding can leave -1e-8 for equal distributions.
    return (result + (model.log_sum - base.log_sum)).clamp_(min=0.0).view(model.shape)


def token_agreement(base: Predictions, model: Predictions) -> Tensor:
    """Whether the most likely next token is the same; of equal ones the first counts.

    Args:
        base, model: of the same text, on the same device.

    Returns:
        float32 (batch, length - 1): 1 where it is, 0 where it is not, NaN where one of the logits is not
        finite (-inf rules a token out and is allowed).
    """
    same = (base.top == model.top).float()
    return same.where(base.largest.isfinite() & model.largest.isfinite(), math.nan).view(model.shape)


def _chunks(rows: int, width: int) -> Iterator[slice]:
    step = max(1, LOGITS_CHUNK_VALUES // width)
    return (slice(start, start + step) for start in range(0, rows, step))
