"""What a text says of a changed input is summed up batch by batch."""

from __future__ import annotations

import torch
from torch import Tensor

from quantize_lib.engine.block import Drift
from quantize_lib.engine.drift_sums import DriftSums

INPUTS, OUTPUTS, TOKENS = 12, 5, 400
CPU = torch.device("cpu")
SEED = torch.Generator().manual_seed(3)
X = torch.randn(TOKENS, INPUTS, generator=SEED).bfloat16()
Z = (X + 0.2 * torch.randn(TOKENS, INPUTS, generator=SEED)).bfloat16()
LACKING = torch.randn(TOKENS, OUTPUTS, generator=SEED)


def _sums(carried: Tensor, *, scale: Tensor | None = None, batch: int = TOKENS) -> Drift | None:
    sums = DriftSums(INPUTS, scale, {"o_proj": OUTPUTS}, CPU)
    for x, z, lacking in zip(X.split(batch), carried.split(batch), LACKING.split(batch), strict=True):
        sums.add(x, z, {"o_proj": lacking})
    return sums.finish()


def test_the_change_and_what_the_residual_stream_lacks_are_means_over_all_tokens() -> None:
    drift = _sums(Z)
    assert drift is not None
    torch.testing.assert_close(drift.change, (X - Z).float().T @ Z.float() / TOKENS)
    torch.testing.assert_close(drift.missing["o_proj"], LACKING.T @ Z.float() / TOKENS)


def test_batches_add_up_to_the_whole_text() -> None:
    whole, parts = _sums(Z), _sums(Z, batch=64)
    assert whole is not None
    assert parts is not None
    torch.testing.assert_close(parts.change, whole.change)
    torch.testing.assert_close(parts.missing["o_proj"], whole.missing["o_proj"])


def test_an_input_that_is_divided_by_a_scale_counts_as_it_would_without() -> None:
    scale = torch.tensor([0.5, 2.0, 4.0] * 4)
    # Powers of two, so that nothing is rounded on the way.
    scaled, plain = _sums((Z.float() / scale).bfloat16(), scale=scale), _sums(Z)
    assert scaled is not None
    assert plain is not None
    torch.testing.assert_close(scaled.change, plain.change, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(scaled.missing["o_proj"], plain.missing["o_proj"])


def test_an_input_that_did_not_change_says_nothing() -> None:
    sums = DriftSums(INPUTS, None, {}, CPU)
    sums.add(X, X.float(), {})
    assert sums.finish() is None


def test_numbers_that_are_not_finite_say_nothing() -> None:
    broken = Z.clone()
    broken[7, 3] = torch.inf
    assert _sums(broken) is None


def test_a_wide_input_is_summed_up_as_a_narrow_one() -> None:
    x, z = (torch.randn(50, 600, generator=SEED).bfloat16() for _ in range(2))
    sums = DriftSums(600, None, {}, CPU)
    sums.add(x, z, {})
    drift = sums.finish()
    assert drift is not None
    torch.testing.assert_close(drift.change, (x - z).float().T @ z.float() / 50)
