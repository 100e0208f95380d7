"""Token ids of calibration and evaluation text: equal windows, the same ones for the same text and seed."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from quantize_lib.errors import CalibrationError

_LEAST_TOKENS = 2
"""A sequence of one token predicts nothing."""


class Tokenizer(Protocol):
    """What is used of a transformers tokenizer."""

    @property
    def eos_token_id(self) -> int | None:
        """The token between documents; None where the tokenizer has none."""

    def __call__(
        self, text: list[str], *, add_special_tokens: bool, verbose: bool
    ) -> Mapping[str, list[list[int]]]:
        """`input_ids` of each text."""


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
    texts: Sequence[str],
    tokenizer: Tokenizer,
    *,
    samples: int,
    sequence_length: int,
    seed: int,
    allow_short: bool,
) -> TokenBatch:
    """Cut text into windows of `sequence_length` tokens.

    The documents are joined, an end-of-sequence token after each where the tokenizer has one, and cut into
    windows that do not overlap. Where the tokenizer itself puts tokens in front of a text (BOS), each window
    begins with them: a model that was trained so is far off without. Of more windows than `samples`, a seed
    chooses; those of fewer samples are among those of more. The windows stay in the order of the text.

    Args:
        texts: documents.
        tokenizer: of the base model.
        samples: how many windows at most.
        sequence_length: tokens of a window, with what stands in front.
        seed: of the choice.
        allow_short: less text than one window is one shorter sequence instead of an error.

    Raises:
        CalibrationError: where the text is too short.
    """
    encoded = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    prefix = _prefix(tokenizer)
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    stream = [token for document in encoded if document for token in (*document, *end)]
    available = len(stream) + len(prefix)
    body = sequence_length - len(prefix)
    if body < 1:
        raise CalibrationError(
            f"sequence_length {sequence_length} leaves no room beside the {len(prefix)} tokens that the "
            "tokenizer puts in front",
            hint="Ask for longer sequences.",
        )
    windows = len(stream) // body
    if windows == 0:
        least = _LEAST_TOKENS if allow_short else sequence_length
        if available < least or not stream:
            raise CalibrationError(
                f"the text gives {available} tokens, one sequence needs {least}",
                hint="Give more text, or ask for a smaller sequence_length.",
            )
        chosen = [[*prefix, *stream]]
    else:
        starts = _choose(windows, samples, seed)
        chosen = [[*prefix, *stream[start * body : (start + 1) * body]] for start in starts]
    ids = torch.tensor(chosen, dtype=torch.int64)
    return TokenBatch(ids=ids, digest=token_digest(ids), available=available, short=windows < samples)


def token_digest(ids: Tensor) -> str:
    """Hex sha256 of token ids as little-endian int64."""
    return hashlib.sha256(ids.cpu().contiguous().numpy().astype("<i8").tobytes()).hexdigest()


def _choose(windows: int, samples: int, seed: int) -> list[int]:
    # Sorting by random keys rather than `sample`, whose result Python does not promise to keep.
    generator = random.Random(seed)
    keys = [generator.random() for _ in range(windows)]
    return sorted(sorted(range(windows), key=keys.__getitem__)[:samples])


def _prefix(tokenizer: Tokenizer) -> list[int]:
    """The tokens that the tokenizer puts in front of a text."""
    probe = ["a"]
    plain = tokenizer(probe, add_special_tokens=False, verbose=False)["input_ids"][0]
    full = tokenizer(probe, add_special_tokens=True, verbose=False)["input_ids"][0]
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return full[:start]
    return []
