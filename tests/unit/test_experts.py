"""The experts of a mixture as the engine sees them: their layers, their tokens, their statistics."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from quantize_lib.engine import precision
from quantize_lib.engine.block import Fold, RoundedBlock, Statistics
from quantize_lib.engine.carry import as_quantized
from quantize_lib.engine.expert_statistics import ExpertStatistics, ExpertTally, RoutedSums
from quantize_lib.engine.folds import find_folds
from quantize_lib.engine.linears import Linear, find_linears
from quantize_lib.engine.statistics import StatisticsCollector
from quantize_lib.errors import EngineError
from quantize_lib.formats.rounded import RoundedLayer

_EXPERTS, _INPUTS, _INNER, _TOP = 4, 16, 8, 2


@pytest.fixture(autouse=True)
def _in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared here is exact in float32 alone, whatever units the CPU has."""
    monkeypatch.setattr(precision, "_has_bfloat16_units", lambda: False)


class _Experts(nn.Module):
    """As transformers' classes are: a loop over the experts that some token goes to."""

    def __init__(self, *, transposed: bool = False, halves: bool = True, gated: bool = True) -> None:
        super().__init__()
        self.is_transposed, self.is_concatenated, self.gated = transposed, halves, gated
        rows = _INNER * (2 if gated else 1)
        first = torch.randn(_EXPERTS, *((_INPUTS, rows) if transposed else (rows, _INPUTS)))
        down = torch.randn(_EXPERTS, *((_INNER, _INPUTS) if transposed else (_INPUTS, _INNER)))
        setattr(self, "gate_up_proj" if gated else "up_proj", nn.Parameter(first, requires_grad=False))
        self.down_proj = nn.Parameter(down, requires_grad=False)
        self.act_fn = functional.silu

    def _apply_gate(self, rows: Tensor) -> Tensor:
        gate, up = rows.chunk(2, -1) if self.is_concatenated else (rows[..., ::2], rows[..., 1::2])
        return self.act_fn(gate) * up

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        out = torch.zeros_like(hidden_states)
        for expert in top_k_index.unique().tolist():
            rows, places = torch.where(top_k_index == expert)
            if expert == _EXPERTS:
                continue
            out[rows] += top_k_weights[rows, places, None] * self.expert(expert, hidden_states[rows])
        return out

    @property
    def first(self) -> Tensor:
        return cast(Tensor, self.gate_up_proj if self.gated else self.up_proj)

    def expert(self, expert: int, hidden: Tensor) -> Tensor:
        rows = hidden @ (self.first[expert] if self.is_transposed else self.first[expert].T)
        between = self._apply_gate(rows) if self.gated else self.act_fn(rows)
        down = self.down_proj[expert]
        return between @ (down if self.is_transposed else down.T)


class _Block(nn.Module):
    """A block whose router reads the hidden states that the experts read."""

    experts: _Experts
    norm: nn.RMSNorm
    router: nn.Linear

    def __init__(self, experts: _Experts) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(_INPUTS)
        self.router = nn.Linear(_INPUTS, _EXPERTS, bias=False)
        self.experts = experts

    def forward(self, hidden: Tensor) -> Tensor:
        normed = self.norm(hidden)
        weights, chosen = self.router(normed).softmax(-1).topk(_TOP)
        return hidden + cast(Tensor, self.experts(normed, top_k_index=chosen, top_k_weights=weights))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _block(**kinds: bool) -> _Block:
    return _Block(_Experts(**kinds)).requires_grad_(False).eval()


def _experts_alone(block: nn.Module) -> dict[str, Linear]:
    return {name: one for name, one in find_linears(block).items() if one.experts is not None}


def _collected(block: nn.Module, *batches: Tensor) -> StatisticsCollector:
    collector = StatisticsCollector(_experts_alone(block))
    with collector.collecting():
        for batch in batches:
            block(batch)
    return collector


def _statistics(block: nn.Module, *batches: Tensor) -> ExpertStatistics:
    (routed,) = _collected(block, *batches).routed.values()
    return ExpertStatistics(RoutedSums(routed))


def _tokens_of(block: _Block, hidden: Tensor, expert: int) -> Tensor:
    normed: Tensor = block.norm(hidden)
    return normed[(block.router(normed).topk(_TOP).indices == expert).any(-1)]


def _moment(x: Tensor) -> Tensor:
    return x.T @ x / len(x)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("halves", [False, True])
def test_each_layer_of_an_expert_is_found_however_the_tensors_lie(transposed: bool, halves: bool) -> None:
    block = _block(transposed=transposed, halves=halves)
    linears = find_linears(block)
    assert list(linears)[:4] == [
        "router",
        "experts.0.gate_proj",
        "experts.0.up_proj",
        "experts.0.down_proj",
    ]
    hidden = torch.randn(5, _INPUTS)
    gate, up, down = (linears[f"experts.2.{part}_proj"].view for part in ("gate", "up", "down"))
    assert (gate.shape, up.shape, down.shape) == ((_INNER, _INPUTS), (_INNER, _INPUTS), (_INPUTS, _INNER))
    made = (functional.silu(hidden @ gate.T) * (hidden @ up.T)) @ down.T
    torch.testing.assert_close(made, block.experts.expert(2, hidden))


def test_experts_without_a_gate_have_two_layers() -> None:
    linears = _experts_alone(_block(gated=False))
    assert list(linears)[:2] == ["experts.0.up_proj", "experts.0.down_proj"]
    assert len(linears) == 2 * _EXPERTS


@pytest.mark.parametrize("gated", [False, True])
def test_statistics_of_an_expert_are_those_of_the_tokens_that_the_router_sent_to_it(gated: bool) -> None:
    block, batches = _block(gated=gated), torch.randn(3, 200, _INPUTS).unbind()
    statistics = _statistics(block, *batches)
    for expert in range(_EXPERTS):
        tokens = torch.cat([_tokens_of(block, batch, expert) for batch in batches])
        first = block.experts.first
        rows = tokens @ first[expert].T
        between = block.experts._apply_gate(rows) if gated else functional.silu(rows)
        found = statistics.of(expert)
        assert found["up_proj"].tokens == found["down_proj"].tokens == len(tokens)
        torch.testing.assert_close(found["up_proj"].hessian, _moment(tokens))
        torch.testing.assert_close(found["up_proj"].mean_abs, tokens.abs().mean(0))
        torch.testing.assert_close(found["down_proj"].hessian, _moment(between))
        if gated:
            assert found["gate_proj"] is found["up_proj"]


def test_an_expert_that_saw_fewer_tokens_than_it_has_inputs_borrows_the_rest_of_all() -> None:
    block, hidden = _block(), torch.randn(12, _INPUTS)
    statistics = _statistics(block, hidden)
    normed = block.norm(hidden)
    for expert in range(_EXPERTS):
        tokens = _tokens_of(block, hidden, expert)
        missing = _INPUTS - len(tokens)
        assert missing > 0
        found: Statistics = statistics.of(expert)["gate_proj"]
        mixed = (tokens.T @ tokens + missing * _moment(normed)) / _INPUTS
        torch.testing.assert_close(found.hessian, mixed)
        loudness = (tokens.abs().sum(0) + missing * normed.abs().mean(0)) / _INPUTS
        torch.testing.assert_close(found.mean_abs, loudness)
        assert found.tokens == len(tokens)


def test_an_expert_that_no_token_reached_has_the_statistics_of_all() -> None:
    block, hidden = _block(), torch.randn(64, _INPUTS)
    block.router.weight[3] = 0
    block.router.weight[:3].abs_()
    hidden.abs_()
    statistics = _statistics(block, hidden)
    torch.testing.assert_close(statistics.of(3)["up_proj"].hessian, _moment(block.norm(hidden)))
    between = []
    for expert in range(3):
        rows = _tokens_of(block, hidden, expert) @ block.experts.first[expert].T
        between.append(block.experts._apply_gate(rows))
    torch.testing.assert_close(statistics.of(3)["down_proj"].hessian, _moment(torch.cat(between)))
    tally = ExpertTally.of("experts.3", statistics.of(3).values())
    assert tally == ExpertTally(count=1, borrowing=1, least=0, name="experts.3", unreached=1)


def test_tokens_for_no_expert_count_for_none() -> None:
    experts = _Experts()
    collector = StatisticsCollector(_experts_alone(nn.ModuleDict({"experts": experts})))
    chosen = torch.tensor([[0, 1], [2, _EXPERTS], [_EXPERTS, _EXPERTS]])
    with collector.collecting():
        experts(torch.randn(3, _INPUTS), chosen, torch.ones(3, 2))
    (routed,) = collector.routed.values()
    assert routed.counts() == [1, 1, 1, 0]


def test_experts_that_compute_something_unknown_are_an_error() -> None:
    class Odd(_Experts):
        def expert(self, expert: int, hidden: Tensor) -> Tensor:
            return super().expert(expert, hidden.flip(-1))

    with pytest.raises(EngineError, match=r"^experts \(Odd\) computes something else than is known"):
        _collected(_Block(Odd()), torch.randn(8, _INPUTS))


def test_experts_that_are_given_every_token_see_those_that_are_not_zero() -> None:
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate_up_proj = nn.Parameter(torch.randn(_EXPERTS, _INPUTS, 2 * _INNER), requires_grad=False)
            self.down_proj = nn.Parameter(torch.randn(_EXPERTS, _INNER, _INPUTS), requires_grad=False)
            self.act_fn = functional.silu

        def forward(self, hidden: Tensor) -> Tensor:
            gate, up = (hidden.view(_EXPERTS, -1, _INPUTS) @ self.gate_up_proj).chunk(2, -1)
            return ((up * self.act_fn(gate)) @ self.down_proj).view(-1, _INPUTS)

    experts, hidden = Dense(), torch.randn(_EXPERTS, 40, _INPUTS)
    hidden[:, 30:] = 0
    hidden[1, 20:] = 0
    collector = StatisticsCollector(_experts_alone(nn.ModuleDict({"experts": experts})))
    with collector.collecting():
        experts(hidden.reshape(-1, _INPUTS))
    (routed,) = collector.routed.values()
    assert routed.counts() == [30, 20, 30, 30]
    found = ExpertStatistics(RoutedSums(routed)).of(1)
    torch.testing.assert_close(found["gate_proj"].hessian, _moment(hidden[1, :20]))


def test_tallies_add_up_and_name_the_expert_that_saw_least() -> None:
    tallies = [
        ExpertTally(count=1, borrowing=int(tokens < 9), least=tokens, name=f"experts.{tokens}")
        for tokens in (12, 3, 7)
    ]
    whole = tallies[2].beside(tallies[1].beside(tallies[0].beside(None)))
    assert whole == ExpertTally(count=3, borrowing=2, least=3, name="experts.3")
    assert whole.sentence() == (
        "2 of 3 experts saw fewer calibration tokens than their layers have inputs, and borrow what is "
        "missing from the statistics of all experts of the block; the fewest, 3, came to experts.3"
    )
    never = ExpertTally(count=1, borrowing=1, least=0, name="experts.0", unreached=1)
    assert "; 1 of them saw none; the fewest, 0, came to experts.0" in whole.beside(never).sentence()


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float32])
def test_rounded_experts_take_their_places_and_leave_them_again(stored: torch.dtype) -> None:
    block, hidden = _block(), torch.randn(20, _INPUTS)
    before, meant = block(hidden), block.experts.down_proj.clone()
    linears = _experts_alone(block)
    name = "experts.1.down_proj"
    other = torch.randn(_INPUTS, _INNER)
    with as_quantized(block, stored=stored) as put:
        put(linears, RoundedBlock(layers={name: RoundedLayer(weight=other)}))
        assert torch.equal(linears[name].view, other)
        assert not torch.equal(block(hidden), before)
    assert torch.equal(block.experts.down_proj, meant)
    assert torch.equal(block(hidden), before)


def test_scales_of_all_experts_last_layers_are_undone_in_those_before() -> None:
    block, sample = _block(), torch.randn(20, _INPUTS)
    folds = find_folds(block, _experts_alone(block), [], lambda one: cast(Tensor, one(sample)), head_dim=4)
    assert folds == tuple(
        Fold(source=f"experts.{n}.up_proj", kind="linear", targets=(f"experts.{n}.down_proj",))
        for n in range(_EXPERTS)
    )


def test_experts_that_bend_what_they_have_scaled_take_no_scales() -> None:
    block, sample = _block(gated=False), torch.randn(20, _INPUTS)
    found = find_folds(block, _experts_alone(block), [], lambda one: cast(Tensor, one(sample)), head_dim=4)
    assert found == ()


def test_experts_that_the_sample_does_not_reach_take_no_scales() -> None:
    block = _block(gated=False)
    sample = torch.randn(20, _INPUTS)
    found = find_folds(block, _experts_alone(block), [], lambda _: sample, head_dim=4)
    assert found == ()


class _Alone(nn.Module):
    """An expert with modules of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = (nn.Linear(_INPUTS, _INNER, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(_INNER, _INPUTS, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return cast(Tensor, self.down_proj(functional.silu(self.gate_proj(hidden)) * self.up_proj(hidden)))


class _Listed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(_Alone() for _ in range(3))

    def forward(self, hidden: Tensor) -> Tensor:
        """Half of the tokens to either of the first two; none to the third."""
        ones, others = hidden.chunk(2)
        return hidden + torch.cat([self.experts[0](ones), self.experts[1](others)])


def test_experts_that_are_modules_of_their_own_borrow_alike() -> None:
    block, hidden = _Listed().requires_grad_(False), torch.randn(60, _INPUTS)
    collector = StatisticsCollector(find_linears(block))
    with collector.collecting():
        block(hidden)
    found = collector.finish()
    torch.testing.assert_close(found["experts.0.up_proj"].hessian, _moment(hidden[:30]))
    assert found["experts.0.up_proj"] is found["experts.0.gate_proj"]
    torch.testing.assert_close(found["experts.2.up_proj"].hessian, _moment(hidden))
    assert found["experts.2.up_proj"].tokens == 0
    assert collector.groups()[-1] == ("experts.2.down_proj",)


def test_of_experts_that_are_modules_only_those_that_the_sample_reaches_take_scales() -> None:
    block, hidden = _Listed().requires_grad_(False), torch.randn(60, _INPUTS)
    linears = find_linears(block)
    collector = StatisticsCollector(linears)
    with collector.collecting():
        block(hidden)
    collector.finish()
    folds = find_folds(block, linears, collector.groups(), lambda one: cast(Tensor, one(hidden)), head_dim=64)
    assert [fold.source for fold in folds] == ["experts.0.up_proj", "experts.1.up_proj"]
