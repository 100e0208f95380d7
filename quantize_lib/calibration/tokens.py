"""Token ids of calibration and evaluation text as a tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from quantize_lib.calibration.conversations import Document
from quantize_lib.calibration.windows import Tokenizer, cut_windows


@dataclass(frozen=True, kw_only=True)
class TokenBatch:
    """Token ids.

    Attributes:
        ids: int64, (sequences, sequence length), on the CPU.
        digest: hex sha256 of `ids` as little-endian int64.
        available: how many tokens the text gave.
        short: fewer sequences than were asked for, or a shorter one.
    """

    ids: Tensor
    digest: str
    available: int
    short: bool


def tokenize(
    texts: Sequence[Document],
    tokenizer: Tokenizer,
    *,
    samples: int,
    sequence_length: int,
    seed: int,
    allow_short: bool,
    rows: int | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> TokenBatch:
    """The windows of a text (`cut_windows`, where the arguments are described).

    Raises:
        CalibrationError: as `cut_windows`.
    """
    windows = cut_windows(
        texts,
        tokenizer,
        samples=samples,
        sequence_length=sequence_length,
        seed=seed,
        allow_short=allow_short,
        rows=rows,
        chat_template_kwargs=chat_template_kwargs,
    )
    ids = torch.tensor(windows.ids, dtype=torch.int64)
    return TokenBatch(ids=ids, digest=token_digest(ids), available=windows.available, short=windows.short)


def token_digest(ids: Tensor) -> str:
    """Hex sha256 of token ids as little-endian int64."""
    return hashlib.sha256(ids.cpu().contiguous().numpy().astype("<i8").tobytes()).hexdigest()
