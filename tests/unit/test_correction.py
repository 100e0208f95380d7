"""A layer makes up for what quantized blocks did to its input, as far as few tokens tell it."""

from __future__ import annotations

import torch
from torch import Tensor

from quantize_lib.engine.block import Drift
from quantize_lib.engine.methods.correction import Outputs, corrected
from quantize_lib.engine.methods.hessian import factorized

INPUTS, OUTPUTS, TOKENS = 12, 5, 400
SEED = torch.Generator().manual_seed(3)


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=SEED)


X = _random(TOKENS, INPUTS) @ _random(INPUTS, INPUTS)
"""The base's inputs, correlated."""
Z = X + 0.2 * X @ _random(INPUTS, INPUTS) + 0.05 * _random(TOKENS, INPUTS)
W = _random(OUTPUTS, INPUTS)
H = X.T @ X / TOKENS


def _drift(original: Tensor, carried: Tensor) -> Drift:
    return Drift(change=(original - carried).T @ carried / TOKENS)


DRIFT = _drift(X, Z)


def _corrected(
    weight: Tensor,
    drift: Drift,
    hessian: Tensor,
    scale: Tensor | None = None,
    missing: Tensor | None = None,
) -> Tensor:
    # What it is told of the change is used up.
    mine = Drift(change=drift.change.clone())
    (made,), _ = corrected([Outputs(weight=weight, scale=scale, missing=missing)], mine, hessian)
    return made


def _lacking(states: Tensor) -> Tensor:
    """Of what each token's residual stream lacks, (tokens, out), what is told to the layer."""
    return states.T @ Z / TOKENS


def _error(weight: Tensor) -> float:
    return float((X @ W.T - Z @ weight.T).square().mean())


def test_a_layer_comes_nearer_to_what_the_base_model_computes() -> None:
    assert _error(_corrected(W, DRIFT, H)) < 0.5 * _error(W)


def test_the_less_the_calibration_stands_against_it_the_nearer() -> None:
    errors = [_error(_corrected(W, DRIFT, H * weight)) for weight in (10, 3, 1)]
    assert errors == sorted(errors, reverse=True)


def test_a_scaled_input_is_corrected_as_it_would_be_without_the_scale() -> None:
    scale = _random(INPUTS).abs() + 0.5
    plain = _corrected(W, DRIFT, H)
    scaled = _corrected(W * scale, DRIFT, H, scale)
    torch.testing.assert_close(scaled / scale, plain, rtol=1e-4, atol=1e-4)


def test_an_input_that_the_base_never_has_is_not_followed_without_bound() -> None:
    silent = X.clone()
    silent[:, 0] = 0.0
    carried = Z.clone()
    carried[:, 0] = 1e-3 * _random(TOKENS)
    hessian = silent.T @ silent / TOKENS
    change = _corrected(W, _drift(silent, carried), hessian) - W
    assert float(change.abs().max()) < 2 * float(W.abs().max())


def test_a_layer_gives_back_what_the_residual_stream_lacks() -> None:
    lacking = 0.3 * Z @ _random(INPUTS, OUTPUTS) + 0.05 * _random(TOKENS, OUTPUTS)

    def error(weight: Tensor) -> float:
        return float((lacking + X @ W.T - Z @ weight.T).square().mean())

    whole = _corrected(W, DRIFT, H, None, _lacking(lacking))
    assert error(whole) < 0.7 * error(_corrected(W, DRIFT, H))


def test_a_stream_that_lacks_nothing_changes_nothing() -> None:
    none = _corrected(W, DRIFT, H, None, torch.zeros(OUTPUTS, INPUTS))
    torch.testing.assert_close(none, _corrected(W, DRIFT, H), rtol=1e-4, atol=1e-4)


def test_what_lacks_is_given_back_whatever_the_inputs_are_scaled_by() -> None:
    scale, lacking = _random(INPUTS).abs() + 0.5, _lacking(0.1 * _random(TOKENS, OUTPUTS))
    plain = _corrected(W, DRIFT, H, None, lacking)
    scaled = _corrected(W * scale, DRIFT, H, scale, lacking)
    torch.testing.assert_close(scaled / scale, plain, rtol=1e-4, atol=1e-4)


def test_what_is_rounded_is_judged_by_the_inputs_of_both_models() -> None:
    # What both have, (E[z·zᵀ] + H)/2, and of the change what neither has.
    both = (H + Z.T @ Z / TOKENS) / 2 + (X - Z).T @ (X - Z) / TOKENS / 2
    _, factor = corrected([Outputs(weight=W)], _drift(X, Z), H)
    torch.testing.assert_close(factor.upper, factorized(both).upper, rtol=1e-3, atol=1e-3)


def test_outputs_with_scales_of_their_own_are_corrected_together_as_each_would_be_alone() -> None:
    scale = _random(INPUTS).abs() + 0.5
    parts = [Outputs(weight=W), Outputs(weight=W[:2] * scale, scale=scale)]
    (first, second), _ = corrected(parts, _drift(X, Z), H)
    assert torch.equal(first, _corrected(W, DRIFT, H))
    assert torch.equal(second, _corrected(W[:2] * scale, DRIFT, H, scale))


def test_a_wide_input_has_the_metric_of_a_narrow_one() -> None:
    width = 600
    root = _random(width, width)
    change, hessian = 1e-3 * _random(width, width), root @ root.T / width
    expected = factorized(hessian - (change + change.T) / 2)
    _, factor = corrected([Outputs(weight=_random(3, width))], Drift(change=change), hessian)
    torch.testing.assert_close(factor.upper, expected.upper)
