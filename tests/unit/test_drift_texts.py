"""How much text each cell sees its errors on."""

from __future__ import annotations

import torch

from quantize_lib.engine.drift import drift_texts
from quantize_lib.methods import Settings, get_method


def tokens(effort: str, bits: int = 4) -> int:
    return get_method("gptq").carried_tokens(Settings(method="gptq", bits=bits, own={"effort": effort}))


def test_best_sees_four_times_as_much_as_standard_and_fast_nothing() -> None:
    assert tokens("best") == 4 * tokens("standard")
    assert tokens("fast") == 0


def test_layers_of_8_bits_make_up_for_nothing_at_any_effort() -> None:
    assert {tokens(effort, bits=8) for effort in ("fast", "standard", "best")} == {0}


def test_cells_of_one_effort_share_a_text_and_others_have_none() -> None:
    texts = drift_texts(
        torch.zeros(128, 512, dtype=torch.int64),
        {"a": tokens("standard"), "b": tokens("best"), "c": tokens("standard"), "d": tokens("fast")},
        4,
    )
    assert [text.sequences for text in texts] == [32, 128]


def test_with_little_text_every_effort_sees_all_of_it() -> None:
    texts = drift_texts(
        torch.zeros(4, 512, dtype=torch.int64), {"a": tokens("standard"), "b": tokens("best")}, 4
    )
    assert len(texts) == 1
