"""The arithmetic that metrics are made of."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from quantize_lib import logits
from quantize_lib.logits import token_kl, token_nll

BATCH, LENGTH, VOCABULARY = 3, 7, 50


def _logits(seed: int, scale: float = 3.0) -> torch.Tensor:
    return torch.randn(BATCH, LENGTH, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * scale


def _ids() -> torch.Tensor:
    return torch.randint(VOCABULARY, (BATCH, LENGTH), generator=torch.Generator().manual_seed(9))


def test_nll_is_the_cross_entropy_of_the_next_token() -> None:
    logits, ids = _logits(0), _ids()
    expected = functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    assert torch.allclose(token_nll(logits, ids), expected.view(BATCH, LENGTH - 1), atol=1e-5)


def test_kl_is_that_of_the_base_from_the_quantized_and_not_the_reverse() -> None:
    base, other = _logits(0), _logits(1)
    p, q = base.double().softmax(-1), other.double().softmax(-1)
    expected = (p * (p.log() - q.log())).sum(-1)[:, :-1]
    assert torch.allclose(token_kl(base, other).double(), expected, atol=1e-5)
    assert not torch.allclose(token_kl(other, base).double(), expected, atol=1e-2)


def test_equal_distributions_have_no_divergence_even_when_shifted() -> None:
    base = _logits(0)
    assert token_kl(base, base + 5.0).max() < 1e-6
    assert token_kl(base, base).min() >= 0


def test_large_logits_do_not_overflow() -> None:
    logits = _logits(0, scale=1e4)
    assert torch.isfinite(token_nll(logits, _ids())).all()
    assert torch.isfinite(token_kl(logits, _logits(0, scale=1e4))).all()


def test_a_token_that_the_base_rules_out_adds_nothing() -> None:
    base, other = _logits(0), _logits(1)
    base[..., 3] = -math.inf
    assert torch.isfinite(token_kl(base, other)).all()


def test_ruling_out_what_the_base_allows_is_infinite() -> None:
    base, other = _logits(0), _logits(1)
    other[..., 3] = -math.inf
    assert torch.isinf(token_kl(base, other)).all()


@pytest.mark.parametrize("which", ["base", "quantized"])
def test_nan_is_never_hidden(which: str) -> None:
    base, other = _logits(0), _logits(1)
    (base if which == "base" else other)[1, 2, 3] = math.nan
    assert torch.isnan(token_kl(base, other)[1, 2])
    assert torch.isnan(token_nll(base if which == "base" else other, _ids())[1, 2])


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    base, other, ids = _logits(0), _logits(1), _ids()
    whole = token_nll(base, ids), token_kl(base, other)
    monkeypatch.setattr(logits, "LOGITS_CHUNK_VALUES", 4 * VOCABULARY)
    assert torch.equal(token_nll(base, ids), whole[0])
    assert torch.equal(token_kl(base, other), whole[1])
