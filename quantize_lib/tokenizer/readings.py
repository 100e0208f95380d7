"""Whether transformers reads text as `tokenizer.json` says.

Some classes build the pipeline anew from the vocabulary alone and ignore what the file says of splitting
(GPT2Tokenizer, GPTNeoXTokenizer, … in transformers 5), so the ids differ without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from quantize_lib.calibration.windows import encode
from quantize_lib.errors import CalibrationError
from quantize_lib.text import plain
from quantize_lib.tokenizer.loading import TOKENIZER_JSON
from quantize_lib.wording import show

PLAIN = (
    "The capital of France is",
    "1234",
    "in 2024, 3.14159 and 1,000,000",
    " leading",
    "two  three   spaces ",
    "don't WE'LL O'Neill's",
    "A_b-c/d.e@f (g) [h] {i}",
    "one\ntwo\n\nthree\r\n\tfour",
    "def f(x):\n    return x ** 2  # ok\n",
    "Grüße aus Übersee, ça va",
    "cafe\u0301",
    "\ufb01 \uff21",
    "Привет, мир",
    "你好\uff0c世界 こんにちは 안녕",
    "नमस्ते สวัสดี مرحبا שלום",
    "👍🏽 🏳️‍🌈 ½ ∑",
)
_ADDED = 32
"""Added tokens that are tried; some tokenizers have thousands of one kind."""
_OF_EACH_KIND = 1000
"""Entries of the vocabulary that are tried: with a digit, with a sign, and others."""
_SHOWN_IDS = 12
_SHOWN_REASON = 200


def difference(tokenizer: Any, folder: Path) -> str | None:
    """The shortest text that the two read differently, in a sentence without a full stop; None without one.

    The vocabulary's own entries are tried beside the plain texts: an entry is what one way of splitting
    leaves whole and another cuts.

    Args:
        tokenizer: as transformers loads it.
        folder: where its files are.
    """
    file = folder / TOKENIZER_JSON
    if not file.is_file():
        return None
    from tokenizers import Tokenizer

    try:
        own = Tokenizer.from_file(str(file))
    except Exception as error:  # noqa: BLE001 - the bare one, of a file of which transformers takes the vocabulary
        reason = plain(str(error).partition("\n")[0])[:_SHOWN_REASON]
        return f"{TOKENIZER_JSON} is damaged ({reason}), and transformers reads text without the rest of it"
    # What a file says of lengths is for batches, and no reading.
    own.no_truncation()
    own.no_padding()
    texts = [*PLAIN, *_added(own), *_entries(own, tokenizer.get_added_vocab())]
    read = zip(texts, _each(_by_transformers(tokenizer), texts), _each(_by_file(own), texts), strict=True)
    found = [
        # What a person can read makes the better example.
        (not text.isprintable(), len(text), text, ours, theirs)
        for text, ours, theirs in read
        if ours is not None and theirs is not None and ours != theirs
    ]
    if not found:
        return None
    _, _, text, ours, theirs = min(found)
    return (
        f"transformers, as the model's users get it ({type(tokenizer).__name__}), reads text otherwise than "
        f"{TOKENIZER_JSON} says: {show(text)} is {_shown(ours)} to transformers and {_shown(theirs)} by the "
        "file; transformers' reading is used here"
    )


def ids_of(tokenizer: Any, text: str) -> list[int] | None:
    """A text's ids; None where the tokenizer has no way to write it."""
    return _each(_by_transformers(tokenizer), [text])[0]


_Read = Callable[[list[str]], list[list[int]]]
"""Gives the ids of each text, or a CalibrationError where one cannot be read."""


def _each(read: _Read, texts: list[str]) -> Sequence[list[int] | None]:
    """The ids of each text, all at once where that can be."""
    try:
        return read(texts)
    except CalibrationError:
        return [None] if len(texts) == 1 else [_each(read, [text])[0] for text in texts]


def _by_transformers(tokenizer: Any) -> _Read:
    return lambda texts: encode(tokenizer, texts)


def _by_file(own: Any) -> _Read:
    def read(texts: list[str]) -> list[list[int]]:
        try:
            return [list(one.ids) for one in own.encode_batch(texts, add_special_tokens=False)]
        except Exception as error:
            # The bare one, where a vocabulary has no word for what it does not know.
            raise CalibrationError("a text cannot be read") from error

    return read


def _added(own: Any) -> Iterator[str]:
    added = own.get_added_tokens_decoder()
    for token in sorted(added)[:_ADDED]:
        yield added[token].content
        yield f"a {added[token].content} b"


def _entries(own: Any, added: Collection[str]) -> list[str]:
    """What entries of the vocabulary stand for, the same ones each time.

    Args:
        added: by transformers, as tokens that are never split: what makes them so is no part of the file.
    """
    kinds: tuple[list[int], list[int], list[int]] = ([], [], [])
    for entry, token in own.get_vocab(with_added_tokens=False).items():
        if entry in added:
            continue
        kind = 0 if any(map(str.isdigit, entry)) else 1 if not entry.isalpha() else 2
        kinds[kind].append(token)
    chosen = [token for kind in kinds for token in sorted(kind)[:: -(-len(kind) // _OF_EACH_KIND) or 1]]
    return [
        text for text in own.decode_batch([[token] for token in chosen], skip_special_tokens=False) if text
    ]


def _shown(ids: Sequence[int]) -> str:
    more = ", …" if len(ids) > _SHOWN_IDS else ""
    return f"[{', '.join(map(str, ids[:_SHOWN_IDS]))}{more}]"
