"""SentencePiece vocabularies, as a tokenizer.json has them: merged pairs over letters, bytes for the rest.

llama.cpp joins the two neighbours that make the piece with the highest score, whichever they are. A
tokenizer.json has a list of pairs instead. It means the same where it has every pair that makes a piece, and
the pairs of one piece follow each other; then a piece's score is its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
"""What a space is written as."""
BYTES = frozenset(f"<0x{byte:02X}>" for byte in range(256))
"""Tokens of single bytes, for what no piece holds."""
_REPLACE: Mapping[str, Any] = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_PREPEND: Mapping[str, Any] = {"type": "Prepend", "prepend": SPACE}
_AT_NO_SPACE: Mapping[str, Any] = {"type": "Split", "pattern": {"String": " "}, "invert": False}
"""Splits at spaces, of which none is left: Gemma's."""


def has_pieces(data: Mapping[str, Any]) -> bool:
    """Whether a tokenizer.json is of such a vocabulary."""
    model = data["model"]
    return model.get("type") == "BPE" and model.get("byte_fallback") is True


def steps_of(value: Any, key: str) -> list[dict[str, Any]]:
    """The steps of a tokenizer.json's normalizer or pre-tokenizer, which may be one or a sequence of them."""
    if value is None:
        return []
    steps = value.get(key, [value]) if isinstance(value, dict) else []
    return [step for step in steps if isinstance(step, dict)]


def space_before(data: Mapping[str, Any]) -> bool | None:
    """Whether a space is put before a text; None where more is done with it than llama.cpp does."""
    steps = steps_of(data.get("normalizer"), "normalizers")
    splits = steps_of(data.get("pre_tokenizer"), "pretokenizers")
    if not steps and len(splits) == 1 and splits[0].get("type") == "Metaspace":
        step = splits[0]
        if step.get("replacement") != SPACE or step.get("split") is not False:
            return None
        return {"always": True, "first": True, "never": False}.get(str(step.get("prepend_scheme")))
    if splits and not (len(splits) == 1 and _is(splits[0], _AT_NO_SPACE)):
        return None
    if len(steps) == 2 and _is(steps[0], _PREPEND) and _is(steps[1], _REPLACE):
        return True
    return False if len(steps) == 1 and _is(steps[0], _REPLACE) else None


def piece_scores(data: Mapping[str, Any]) -> dict[str, float]:
    """The scores of the pieces that pairs make, the highest for the one that is made first.

    Raises:
        ValueError: where llama.cpp would join other pairs, or in another order.
    """
    model, words = data["model"], data["model"]["vocab"]
    if any(model.get(key) for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix")):
        raise ValueError("its pairs are not those of SentencePiece")
    if not words.keys() >= BYTES:
        raise ValueError(f"it has no token {min(BYTES - words.keys())} for a byte")
    pairs = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in model["merges"]]
    scores: dict[str, float] = {}
    last = ""
    for left, right in pairs:
        piece = left + right
        if piece != last and piece in scores:
            raise ValueError("its pairs are in an order that scores of tokens cannot say")
        scores.setdefault(piece, -float(len(scores)))
        last = piece
    if not set(pairs).issuperset(_pairs_of(data)):
        raise ValueError("its list of pairs lacks some that make a token, which llama.cpp would join")
    return scores


def _pairs_of(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every pair of tokens that makes another; tokens that were added are found before anything is joined."""
    words = data["model"]["vocab"]
    added = {str(token["content"]) for token in data.get("added_tokens") or ()}
    for word in words:
        if word in added or word in BYTES:
            continue
        for place in range(1, len(word)):
            left, right = word[:place], word[place:]
            if left in words and right in words:
                yield left, right


def _is(step: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(step.get(key) == value for key, value in wanted.items())
