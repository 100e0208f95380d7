from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quantize_lib.calibration.tokens import TokenBatch, tokenize
from quantize_lib.errors import CalibrationError
from tests.support.byte_tokenizer import BOS, ByteTokenizer

TEXTS = st.lists(st.text(max_size=20), max_size=12)
LENGTHS = st.integers(2, 9)
SAMPLES = st.integers(1, 12)
SEEDS = st.integers(0, 2**64)


def cut(texts: list[str], samples: int, length: int, seed: int, *, bos: bool = False) -> TokenBatch | None:
    try:
        return tokenize(
            texts,
            ByteTokenizer(bos=bos),
            samples=samples,
            sequence_length=length,
            seed=seed,
            allow_short=False,
        )
    except CalibrationError:
        return None


def stream_of(texts: list[str]) -> list[int]:
    return [token for text in texts if text for token in (*text.encode(), 256)]


@given(TEXTS, SAMPLES, LENGTHS, SEEDS)
def test_every_window_is_a_piece_of_the_text_and_none_comes_twice(
    texts: list[str], samples: int, length: int, seed: int
) -> None:
    batch = cut(texts, samples, length, seed)
    stream = stream_of(texts)
    windows = [stream[start : start + length] for start in range(0, len(stream) - length + 1, length)]
    if not windows:
        assert batch is None
        return
    assert batch is not None
    rows = batch.ids.tolist()
    assert len(rows) == min(samples, len(windows))
    assert batch.short == (len(windows) < samples)
    rest = iter(windows)
    # Each is found behind the one before it: in the order of the text, no window twice.
    assert all(any(row == window for window in rest) for row in rows)


@given(TEXTS, SAMPLES, LENGTHS, SEEDS)
def test_the_same_text_and_seed_give_the_same_ids(
    texts: list[str], samples: int, length: int, seed: int
) -> None:
    first, second = (cut(texts, samples, length, seed) for _ in range(2))
    if first is not None:
        assert second is not None
        assert first.digest == second.digest


@given(TEXTS, SAMPLES, LENGTHS, SEEDS)
def test_fewer_samples_are_among_those_of_more(
    texts: list[str], samples: int, length: int, seed: int
) -> None:
    fewer, more = cut(texts, samples, length, seed), cut(texts, samples + 3, length, seed)
    if fewer is not None and more is not None:
        found = iter(more.ids.tolist())
        assert all(any(row == other for other in found) for row in fewer.ids.tolist())


@given(TEXTS, SAMPLES, LENGTHS, SEEDS)
def test_a_begin_token_stands_in_front_of_each_window_and_nowhere_else(
    texts: list[str], samples: int, length: int, seed: int
) -> None:
    batch = cut(texts, samples, length, seed, bos=True)
    if batch is not None:
        assert all(row[0] == BOS and BOS not in row[1:] for row in batch.ids.tolist())
        assert batch.ids.shape[1] == length
