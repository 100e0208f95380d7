"""Whether transformers reads text as `tokenizer.json` says.

Some classes build the pipeline anew from the vocabulary alone and ignore what the file says of splitting
(GPT2Tokenizer, GPTNeoXTokenizer, … in transformers 5), so the ids differ without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

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
"""Tried first to last: an example of a difference is the first of them."""
_ADDED = 32
"""Added tokens that are tried; some tokenizers have thousands of one kind."""
_SHOWN_IDS = 12


def difference(tokenizer: Any, folder: Path) -> str | None:
    """One text that the two read differently, as a sentence without a full stop; None where there is none.

    Args:
        tokenizer: as transformers loads it.
        folder: where its files are.
    """
    file = folder / TOKENIZER_JSON
    if not file.is_file():
        return None
    from tokenizers import Tokenizer

    own = Tokenizer.from_file(str(file))
    # What a file says of lengths is for batches, and no reading.
    own.no_truncation()
    own.no_padding()
    for text in _texts(own):
        ours = tokenizer([text], add_special_tokens=False, verbose=False)["input_ids"][0]
        theirs = own.encode(text, add_special_tokens=False).ids
        if ours != theirs:
            return (
                f"transformers, as the model's users get it ({type(tokenizer).__name__}), reads text "
                f"otherwise than {TOKENIZER_JSON} says: {show(text)} is {_shown(ours)} to transformers and "
                f"{_shown(theirs)} by the file; transformers' reading is used here"
            )
    return None


def _texts(own: Any) -> Iterator[str]:
    yield from PLAIN
    added = own.get_added_tokens_decoder()
    for token in sorted(added)[:_ADDED]:
        yield added[token].content
        yield f"a {added[token].content} b"


def _shown(ids: Sequence[int]) -> str:
    more = ", …" if len(ids) > _SHOWN_IDS else ""
    return f"[{', '.join(map(str, ids[:_SHOWN_IDS]))}{more}]"
