"""What a language model's logits say of a text: the arithmetic of metrics.

The last position of a sequence predicts nothing that the text holds, so every figure stands over the first
`length - 1` positions: token t + 1 is predicted at position t.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from quantize_lib.sizing import LOGITS_CHUNK_VALUES


def token_nll(logits: Tensor, ids: Tensor) -> Tensor:
    """Negative log-likelihood of every predicted token.

    Args:
        logits: any floating dtype, (batch, length, vocabulary).
        ids: int64 (batch, length), on the same device.

    Returns:
        float32 (batch, length - 1), nats. Not finite where the logits are not.
    """
    targets = ids[:, 1:].reshape(-1)
    rows = logits[:, :-1].reshape(-1, logits.shape[-1])
    result = torch.empty(rows.shape[0], dtype=torch.float32, device=logits.device)
    for part in _chunks(*rows.shape):
        chunk = rows[part].float()
        picked = chunk.gather(1, targets[part, None]).squeeze(1)
        result[part] = chunk.logsumexp(1) - picked
    return result.view(ids.shape[0], -1)


def token_kl(base_logits: Tensor, logits: Tensor) -> Tensor:
    """KL(base ‖ quantized) of the next-token distributions (Kullback and Leibler, 1951).

    Args:
        base_logits: any floating dtype, (batch, length, vocabulary).
        logits: the same shape, on the same device.

    Returns:
        float32 (batch, length - 1), nats. Not finite where one of the logits is not, or where the quantized
        model rules out what the base model allows.
    """
    base_rows = base_logits[:, :-1].reshape(-1, base_logits.shape[-1])
    rows = logits[:, :-1].reshape(-1, logits.shape[-1])
    result = torch.empty(rows.shape[0], dtype=torch.float32, device=logits.device)
    for part in _chunks(*rows.shape):
        base = base_rows[part].float().log_softmax(1)
        terms = base.exp() * (base - rows[part].float().log_softmax(1))
        # What the base rules out (-inf) adds nothing; a NaN stays a NaN.
        result[part] = terms.masked_fill_(base == -math.inf, 0.0).sum(1)
    # Rounding can leave -1e-8 for equal distributions.
    return result.clamp_(min=0.0).view(logits.shape[0], -1)


def token_agreement(base_logits: Tensor, logits: Tensor) -> Tensor:
    """Whether the most likely next token is the same; of equal ones the first counts.

    Args:
        base_logits: any floating dtype, (batch, length, vocabulary).
        logits: the same shape, on the same device.

    Returns:
        float32 (batch, length - 1): 1 where it is, 0 where it is not, NaN where one of the logits is not
        finite (-inf rules a token out and is allowed).
    """
    base_top, top = (one[:, :-1].max(-1) for one in (base_logits, logits))
    same = (base_top.indices == top.indices).float()
    # A NaN is the largest value of its row.
    return same.where(base_top.values.isfinite() & top.values.isfinite(), math.nan)


def _chunks(rows: int, width: int) -> Iterator[slice]:
    step = max(1, LOGITS_CHUNK_VALUES // width)
    return (slice(start, start + step) for start in range(0, rows, step))
