"""What makes each metric itself."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from quantize_lib.logits import Predictions
from quantize_lib.metrics import MEANS, METRICS, Figure, get_metric, listed

Plain = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def tensors() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of a base model and of another one, and token ids."""
    generator = torch.Generator().manual_seed(3)
    base, logits = (torch.randn(4, 9, 30, generator=generator) * 3 for _ in range(2))
    return base, logits, torch.randint(30, (4, 9), generator=generator)


def test_the_entries_are_found_in_their_order_and_a_near_word_is_suggested() -> None:
    assert list(METRICS)[:2] == ["perplexity", "kl_divergence"]
    assert get_metric("perplexity") is METRICS["perplexity"]
    with pytest.raises(KeyError, match="Perhaps you meant `perplexity`"):
        get_metric("perplexty")


def _plain_nll(base: torch.Tensor, logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    del base
    picked = logits[:, :-1].double().log_softmax(-1).gather(2, ids[:, 1:, None])
    return -picked.squeeze(2)


def _plain_kl(base: torch.Tensor, logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    del ids
    p, q = base[:, :-1].double().softmax(-1), logits[:, :-1].double().softmax(-1)
    return (p * (p / q).log()).sum(-1)


def _plain_agreement(base: torch.Tensor, logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    del ids
    return (base.argmax(-1) == logits.argmax(-1))[:, :-1].double()


@pytest.mark.parametrize(
    ("name", "plain"),
    [("perplexity", _plain_nll), ("kl_divergence", _plain_kl), ("top_token_agreement", _plain_agreement)],
)
def test_its_values_are_what_plain_torch_gives(name: str, plain: Plain) -> None:
    base, logits, ids = tensors()
    values = MEANS[name].per_token(Predictions(logits), Predictions(base), ids).double()
    assert torch.allclose(values, plain(base, logits, ids), atol=1e-5)


def test_perplexity_is_the_exponential_and_that_of_a_hopeless_model_infinite() -> None:
    metric = MEANS["perplexity"]
    assert metric.figure(2.0) == math.exp(2.0)
    assert metric.figure(1e4) == metric.slope(1e4) == math.inf
    assert metric.measured(torch.full((3, 4), 1e4)) == Figure()


def test_a_limit_on_perplexity_is_a_percentage_or_a_fraction() -> None:
    limit = get_metric("perplexity").limit
    assert limit is not None
    assert [limit.parse(written) for written in ("15%", "0.5%", 0.15, 2)] == [0.15, 0.005, 0.15, 2.0]


def test_metrics_are_listed_as_in_a_sentence() -> None:
    perplexity, divergence = get_metric("perplexity"), get_metric("kl_divergence")
    assert listed([]) == ""
    assert listed([perplexity]) == "perplexity"
    assert listed([perplexity, divergence]) == "perplexity and KL divergence"
    assert listed([perplexity, divergence, perplexity]) == "perplexity, KL divergence and perplexity"
    assert listed([divergence], details=True).startswith("KL divergence (base ‖ quantized")


def test_a_quantile_is_a_value_that_its_share_of_tokens_does_not_exceed() -> None:
    values = torch.arange(1.0, 2001.0)[torch.randperm(2000, generator=torch.Generator().manual_seed(1))]
    quantiles = ("kl_divergence_median", "kl_divergence_p99", "kl_divergence_p999")
    assert [get_metric(name).of_values(values.view(20, 100)) for name in quantiles] == [1000, 1980, 1998]
    assert [get_metric(name).of_values(values[:1].view(1, 1)) for name in quantiles] == [values[0]] * 3


def test_the_error_of_an_increase_is_paired() -> None:
    """Texts of very different difficulty, on which both models differ by the same."""
    metric = get_metric("perplexity")
    base = torch.linspace(1, 4, 12)[:, None].repeat(1, 50)
    figure = metric.measured(base + 0.1, base)
    assert figure.before is not None
    assert figure.after is not None
    assert figure.standard_error is not None
    assert figure.after / figure.before - 1 == pytest.approx(math.expm1(0.1), rel=1e-5)
    assert figure.standard_error / figure.after > 0.2
    assert figure.increase_error == pytest.approx(0, abs=1e-6)
    # By hand: exp(d) times the standard error of the mean of the sequences' differences.
    steps = torch.linspace(0, 0.2, 12)[:, None]
    differences = steps.double().flatten()
    by_hand = math.exp(float(differences.mean())) * float(differences.std()) / math.sqrt(12)
    assert metric.measured(base + steps, base).increase_error == pytest.approx(by_hand, rel=1e-4)


def test_a_share_is_a_percentage_or_a_fraction_and_reads_unlike_its_limit() -> None:
    limit = get_metric("top_token_agreement").limit
    assert limit is not None
    assert [limit.parse(written) for written in ("90%", "99.5%", 0.9)] == pytest.approx([0.9, 0.995, 0.9])
    assert limit.judge(Figure(after=0.89996), 0.9).text == (
        "top-token agreement is 89.996%, less than the least allowed 90%"
    )
