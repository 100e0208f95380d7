"""Windows of token ids: text in equal pieces, the same ones for the same text and seed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from quantize_lib.calibration.chat_template import as_texts
from quantize_lib.calibration.conversations import Document
from quantize_lib.errors import CalibrationError
from quantize_lib.text import plain
from quantize_lib.wording import show

_LEAST_TOKENS = 2
"""A sequence of one token predicts nothing."""
_ANOTHER_TOKENIZER = (
    "The tokenizer has tokens that these weights lack: take both from one revision of the model, or name the "
    "model that the tokenizer was made for."
)


class Tokenizer(Protocol):
    """What is used of a transformers tokenizer."""

    @property
    def eos_token_id(self) -> int | None:
        """The token between documents; None where the tokenizer has none."""

    @property
    def unk_token_id(self) -> int | None:
        """The token for what the vocabulary does not know; None where the tokenizer has none."""

    def __call__(
        self, text: list[str], *, add_special_tokens: bool, verbose: bool
    ) -> Mapping[str, list[list[int]]]:
        """`input_ids` of each text."""

    def convert_ids_to_tokens(self, ids: int) -> object:
        """A token as the vocabulary writes it."""


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Token ids in equal pieces.

    Attributes:
        ids: by sequence.
        available: how many tokens the text gave.
        short: fewer sequences than were asked for, or a shorter one.
    """

    ids: list[list[int]]
    available: int
    short: bool


def cut_windows(
    texts: Sequence[Document],
    tokenizer: Tokenizer,
    *,
    samples: int,
    sequence_length: int,
    seed: int,
    allow_short: bool,
    rows: int | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> Windows:
    """Cut text into windows of `sequence_length` tokens.

    The documents are joined, an end-of-sequence token after each where the tokenizer has one, and cut into
    windows that do not overlap. Where the tokenizer itself puts tokens in front of a text (BOS), each window
    begins with them: a model that was trained so is far off without. Of more windows than `samples`, a seed
    chooses; those of fewer samples are among those of more. The windows stay in the order of the text.

    A conversation is written by the chat template and ends as that ends it. Tokens that the template puts in
    front, and the tokenizer as well, stand only in front of the windows.

    Args:
        texts: documents.
        tokenizer: of the base model.
        samples: how many windows at most.
        sequence_length: tokens of a window, with what stands in front.
        seed: of the choice.
        allow_short: less text than one window is one shorter sequence instead of an error.
        rows: of the model's token embedding; None where they are not known.
        chat_template_kwargs: variables for the chat template; None for none.

    Raises:
        CalibrationError: where a conversation cannot be written as text, or the text cannot be read, is too
            short, or gives a token that the model lacks.
    """
    encoded = encode(tokenizer, as_texts(texts, tokenizer, chat_template_kwargs or {}))
    prefix = front_tokens(tokenizer)
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    unknown = tokenizer.unk_token_id
    if unknown is not None and {token for document in encoded for token in document} == {unknown}:
        raise CalibrationError(
            f"the tokenizer knows nothing of the text: all of it is {named(tokenizer, unknown)} to it",
            hint="Take text of the model's language. Where it is that, the tokenizer's files do not go with "
            "its class: add a tokenizer.json from the model that this one was made from.",
        )
    stream = [
        token
        for document, ids in zip(texts, encoded, strict=True)
        if ids
        for token in ((*ids, *end) if isinstance(document, str) else _without_front(ids, prefix))
    ]
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
    if rows is not None:
        used = {token for window in chosen for token in window}
        check_ends(tokenizer, rows, used)
        check_rows(tokenizer, rows, used, of="the text")
    return Windows(ids=chosen, available=available, short=windows < samples)


def encode(tokenizer: Tokenizer, texts: Sequence[str], *, whole: bool = False) -> list[list[int]]:
    """The ids of each text.

    Args:
        whole: with what the tokenizer itself puts around a text.

    Raises:
        CalibrationError: where the tokenizer has no way to write one.
    """
    try:
        return tokenizer(list(texts), add_special_tokens=whole, verbose=False)["input_ids"]
    except Exception as error:
        # What the tokenizers library raises, for a vocabulary without a word for what it does not know.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CalibrationError(
            f"the tokenizer cannot read the text ({plain(reason)})",
            hint="Take text that its vocabulary has words for, or give the tokenizer an unknown token.",
        ) from error


def check_ends(tokenizer: Tokenizer, rows: int, used: Iterable[int] | None = None) -> None:
    """Refuse a tokenizer whose token in front of a text or after a document the model has no row for.

    Args:
        used: the ids that count; None for all, where the text itself is not known yet.

    Raises:
        CalibrationError: naming the token.
    """
    ends = [(token, "in front of each text") for token in front_tokens(tokenizer)]
    if tokenizer.eos_token_id is not None:
        ends.append((tokenizer.eos_token_id, "after each document"))
    counted = None if used is None else set(used)
    for token, place in ends:
        if token >= rows and (counted is None or token in counted):
            raise CalibrationError(
                f"the tokenizer puts the token {named(tokenizer, token)} {place}, and {_ends_at(rows)}",
                hint="Set eos_token or bos_token in tokenizer_config.json to a token that the model has. "
                + _ANOTHER_TOKENIZER,
            )


def check_rows(tokenizer: Tokenizer, rows: int, used: Iterable[int], *, of: str) -> None:
    """Refuse ids that the model has no row for.

    Args:
        of: what they come from, for the message.

    Raises:
        CalibrationError: naming the smallest.
    """
    beyond = sorted({token for token in used if token >= rows})
    if beyond:
        more = f" and {len(beyond) - 1} more" if len(beyond) > 1 else ""
        raise CalibrationError(
            f"{of} gives the token {named(tokenizer, beyond[0])}{more}, and {_ends_at(rows)}",
            hint=f"{_ANOTHER_TOKENIZER} Text without such tokens can be used.",
        )


def named(tokenizer: Tokenizer, token: int) -> str:
    """`<|im_end|>` (id 272), for messages."""
    return f"{show(tokenizer.convert_ids_to_tokens(token) or '')} (id {token})"


def front_tokens(tokenizer: Tokenizer) -> list[int]:
    """The tokens that the tokenizer puts in front of a text."""
    (bare,) = encode(tokenizer, ["a"])
    (full,) = encode(tokenizer, ["a"], whole=True)
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return full[:start]
    return []


def _without_front(ids: list[int], prefix: list[int]) -> list[int]:
    """A conversation's ids without the tokens in front, which every window begins with already."""
    return ids[len(prefix) :] if ids[: len(prefix)] == prefix else ids


def _ends_at(rows: int) -> str:
    return f"the model's embedding has {rows} rows, for the ids up to {rows - 1}"


def _choose(windows: int, samples: int, seed: int) -> list[int]:
    # Sorting by random keys rather than `sample`, whose result Python does not promise to keep.
    generator = random.Random(seed)
    keys = [generator.random() for _ in range(windows)]
    return sorted(sorted(range(windows), key=keys.__getitem__)[:samples])
