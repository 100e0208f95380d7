from __future__ import annotations

import hashlib
import struct

import pytest

from quantize_lib.calibration.tokens import TokenBatch, tokenize
from quantize_lib.calibration.windows import check_ends
from quantize_lib.errors import CalibrationError
from tests.support.byte_tokenizer import BOS, EOS, ByteTokenizer


def cut(
    *texts: str,
    samples: int = 100,
    length: int = 4,
    seed: int = 0,
    allow_short: bool = False,
    tokenizer: ByteTokenizer | None = None,
    rows: int | None = None,
) -> TokenBatch:
    return tokenize(
        texts,
        tokenizer or ByteTokenizer(),
        samples=samples,
        sequence_length=length,
        seed=seed,
        allow_short=allow_short,
        rows=rows,
    )


def test_documents_are_joined_with_the_end_token_and_cut_without_overlap() -> None:
    batch = cut("abc", "", "defg", "hi")
    assert batch.ids.tolist() == [[97, 98, 99, EOS], [100, 101, 102, 103], [EOS, 104, 105, EOS]]
    assert str(batch.ids.dtype) == "torch.int64"
    assert batch.available == 12


def test_a_tokenizer_without_end_token_joins_documents_directly() -> None:
    assert cut("ab", "cd", tokenizer=ByteTokenizer(eos=False)).ids.tolist() == [[97, 98, 99, 100]]


def test_each_window_begins_as_the_tokenizer_begins_a_text() -> None:
    batch = cut("abcdef", tokenizer=ByteTokenizer(bos=True, eos=False))
    assert batch.ids.tolist() == [[BOS, 97, 98, 99], [BOS, 100, 101, 102]]


def test_the_digest_is_of_the_ids_as_little_endian_int64() -> None:
    expected = hashlib.sha256(struct.pack("<4q", 97, 98, 99, EOS)).hexdigest()
    assert cut("abc").digest == expected


def test_less_than_one_sequence_is_an_error() -> None:
    with pytest.raises(CalibrationError) as caught:
        cut("x" * 311, length=512)
    assert caught.value.message == "the text gives 312 tokens, one sequence needs 512"
    assert caught.value.hint == "Give more text, or ask for a smaller sequence_length."


def test_less_than_one_sequence_is_one_shorter_sequence_where_that_is_allowed() -> None:
    batch = cut("ab", length=512, allow_short=True)
    assert batch.ids.tolist() == [[97, 98, EOS]]
    assert batch.short


def test_one_token_is_no_sequence_even_where_short_ones_are_allowed() -> None:
    with pytest.raises(CalibrationError, match="the text gives 1 tokens, one sequence needs 2"):
        cut("a", length=512, allow_short=True, tokenizer=ByteTokenizer(eos=False))


def test_no_text_is_an_error_even_with_a_begin_token() -> None:
    with pytest.raises(CalibrationError, match="one sequence needs 2"):
        cut("", length=512, allow_short=True, tokenizer=ByteTokenizer(bos=True))


def test_fewer_sequences_than_asked_for_are_short() -> None:
    assert cut("abcdefg", samples=3).short
    assert not cut("abcdefg", samples=2).short


def test_a_window_must_hold_more_than_what_stands_in_front() -> None:
    with pytest.raises(CalibrationError, match="sequence_length 1 leaves no room beside the 1 tokens"):
        cut("abc", length=1, tokenizer=ByteTokenizer(bos=True))


def test_the_seed_chooses_and_the_choice_is_pinned() -> None:
    text = "".join(chr(97 + index) * 4 for index in range(20))
    plain = ByteTokenizer(eos=False)
    chosen = [row[0] - 97 for row in cut(text, samples=5, tokenizer=plain).ids.tolist()]
    other = [row[0] - 97 for row in cut(text, samples=5, seed=1, tokenizer=plain).ids.tolist()]
    # Another choice would change every user's calibration under an unchanged fingerprint.
    assert chosen == [3, 5, 7, 12, 15]
    assert other != chosen


@pytest.mark.parametrize(
    ("texts", "tokenizer", "message"),
    [
        (["abc\x80"], ByteTokenizer(eos=False), "the text gives the token `Â` (id 194)"),
        (["abc"], ByteTokenizer(), "the tokenizer puts the token `</s>` (id 256) after each document"),
        (
            ["abc"],
            ByteTokenizer(bos=True),
            "the tokenizer puts the token `<s>` (id 257) in front of each text",
        ),
    ],
    ids=["text", "end", "begin"],
)
def test_a_token_that_the_model_has_no_row_for_is_named(
    texts: list[str], tokenizer: ByteTokenizer, message: str
) -> None:
    with pytest.raises(CalibrationError) as caught:
        cut(*texts, tokenizer=tokenizer, rows=128)
    assert caught.value.message == f"{message}, and the model's embedding has 128 rows, for the ids up to 127"
    assert caught.value.hint is not None


def test_a_token_without_a_row_in_no_window_refuses_nothing() -> None:
    assert cut("abcd", rows=128).ids.tolist() == [[97, 98, 99, 100]]
    assert cut("abc", rows=257).ids.tolist() == [[97, 98, 99, EOS]]


def test_an_end_token_without_a_row_is_seen_before_the_text_is_known() -> None:
    check_ends(ByteTokenizer(), 257)
    with pytest.raises(CalibrationError, match="after each document"):
        check_ends(ByteTokenizer(), 256)


class Silent(ByteTokenizer):
    """Knows no text: answers with the unknown token alone, or not at all."""

    def __init__(self, *, unknown: int | None) -> None:
        super().__init__(eos=False)
        self._unknown = unknown

    @property
    def unk_token_id(self) -> int | None:
        return self._unknown

    def __call__(self, text: list[str], **_: object) -> dict[str, list[list[int]]]:
        if self._unknown is None:
            raise Exception("WordLevel error: Missing [UNK] token from the vocabulary\nat line 3")
        return {"input_ids": [[self._unknown] * len(one) for one in text]}


def test_text_that_a_tokenizer_cannot_read_is_told() -> None:
    with pytest.raises(CalibrationError) as caught:
        cut("abcd", tokenizer=Silent(unknown=None))
    reason = "WordLevel error: Missing [UNK] token from the vocabulary"
    assert caught.value.message == f"the tokenizer cannot read the text ({reason})"


def test_text_of_which_a_tokenizer_knows_nothing_is_refused() -> None:
    with pytest.raises(CalibrationError, match=r"all of it is `\?` \(id 63\) to it"):
        cut("abcd", tokenizer=Silent(unknown=63))
