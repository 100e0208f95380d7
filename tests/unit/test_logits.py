"""The arithmetic that metrics are made of."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from quantize_lib import logits
from quantize_lib.logits import Predictions, token_kl, token_nll

BATCH, LENGTH, VOCABULARY = 3, 7, 50


def _logits(seed: int, scale: float = 3.0) -> torch.Tensor:
    return torch.randn(BATCH, LENGTH, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * scale


def _ids() -> torch.Tensor:
    return torch.randint(VOCABULARY, (BATCH, LENGTH), generator=torch.Generator().manual_seed(9))


def _nll(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    return token_nll(Predictions(logits), ids)


def _kl(base: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return token_kl(Predictions(base), Predictions(logits))


def test_nll_is_the_cross_entropy_of_the_next_token() -> None:
    logits, ids = _logits(0), _ids()
    expected = functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    assert torch.allclose(_nll(logits, ids), expected.view(BATCH, LENGTH - 1), atol=1e-5)


def test_kl_is_that_of_the_base_from_the_quantized_and_not_the_reverse() -> None:
    base, other = _logits(0), _logits(1)
    p, q = base.double().softmax(-1), other.double().softmax(-1)
    expected = (p * (p.log() - q.log())).sum(-1)[:, :-1]
    assert torch.allclose(_kl(base, other).double(), expected, atol=1e-5)
    assert not torch.allclose(_kl(other, base).double(), expected, atol=1e-2)


def test_equal_distributions_have_no_divergence_even_when_shifted() -> None:
    base = _logits(0)
    assert _kl(base, base + 5.0).max() < 1e-6
    assert _kl(base, base).min() >= 0


def test_large_logits_do_not_overflow() -> None:
    logits = _logits(0, scale=1e4)
    assert torch.isfinite(_nll(logits, _ids())).all()
    assert torch.isfinite(_kl(logits, _logits(0, scale=1e4))).all()


def test_a_token_that_the_base_rules_out_adds_nothing() -> None:
    base, other = _logits(0), _logits(1)
    base[..., 3] = -math.inf
    assert torch.isfinite(_kl(base, other)).all()


def test_ruling_out_what_the_base_allows_is_infinite() -> None:
    base, other = _logits(0), _logits(1)
    other[..., 3] = -math.inf
    assert torch.isinf(_kl(base, other)).all()


@pytest.mark.parametrize("which", ["base", "quantized"])
def test_nan_is_never_hidden(which: str) -> None:
    base, other = _logits(0), _logits(1)
    (base if which == "base" else other)[1, 2, 3] = math.nan
    assert torch.isnan(_kl(base, other)[1, 2])
    assert torch.isnan(_nll(base if which == "base" else other, _ids())[1, 2])


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    base, other, ids = _logits(0), _logits(1), _ids()
    whole = _nll(base, ids), _kl(base, other)
    monkeypatch.setattr(logits, "LOGITS_CHUNK_VALUES", 4 * VOCABULARY)
    assert torch.equal(_nll(base, ids), whole[0])
    assert torch.equal(_kl(base, other), whole[1])


def test_a_small_divergence_of_large_logits_keeps_its_digits() -> None:
    base = _logits(0).double() + 200
    other = base + _logits(1).double() * 1e-3
    p, q = base.softmax(-1), other.softmax(-1)
    expected = (p * (p.log() - q.log())).sum(-1)[:, :-1]
    assert torch.allclose(_kl(base.float(), other.float()).double(), expected, rtol=0.05, atol=1e-6)
