"""Sums of parts of a text: they travel as tensors, and add up to those of the whole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from quantize_lib.engine.expert_statistics import ExpertStatistics, RoutedSums
from quantize_lib.engine.linears import find_linears
from quantize_lib.engine.second_moment import add_packed, add_product, packed, packed_diagonal, packed_length
from quantize_lib.engine.statistics import StatisticsCollector
from quantize_lib.engine.stored_sums import StoredSums, stored
from quantize_lib.engine.sums import BlockSums
from quantize_lib.errors import CalibrationError, EngineError
from tests.support.shards import MemoryPart

WIDTH, PREFIX = 12, "model.layers.3"
MOMENT = f"{PREFIX}.q,{PREFIX}.k/second_moment"


class Attention(nn.Module):
    """q and k share an input, o has another."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.o = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.o(self.q(x) * self.k(x))
        return made


def collected(block: nn.Module, *batches: Tensor) -> BlockSums:
    collector = StatisticsCollector(find_linears(block))
    for batch in batches:
        with torch.no_grad(), collector.collecting():
            block(batch)
    return BlockSums(
        layers=collector, experts={one.name: RoutedSums(one) for one in collector.routed.values()}
    )


def part(block: nn.Module, *batches: Tensor) -> MemoryPart:
    return MemoryPart(dict(stored(PREFIX, collected(block, *batches))))


@pytest.fixture
def block() -> Attention:
    torch.manual_seed(0)
    return Attention()


@pytest.mark.parametrize("width", [1, 2, 5, 256, 259])
def test_a_triangle_is_half_of_the_matrix_and_comes_back_as_it_was(width: int) -> None:
    upper = torch.zeros(width, width)
    add_product(upper, torch.randn(7, width, generator=torch.Generator().manual_seed(1)))
    values = packed(upper)
    assert len(values) == packed_length(width) <= width * (width + 1) // 2 + 1
    back = torch.zeros(width, width)
    add_packed(back, values)
    assert torch.equal(back, upper.triu())
    assert torch.equal(packed_diagonal(values, width), upper.diagonal())


def test_parts_of_a_text_add_up_to_the_whole(block: Attention) -> None:
    batches = torch.randn(5, 40, WIDTH).unbind()
    whole = collected(block, *batches).layers.finish()
    parts = [part(block, *batches[:2]), part(block, batches[2]), part(block, *batches[3:])]
    added = StoredSums(parts).of_block(PREFIX, find_linears(block)).layers
    assert added.groups() == [("q", "k"), ("o",)]
    for name, statistics in added.finish().items():
        assert statistics.tokens == whole[name].tokens == 200
        torch.testing.assert_close(statistics.hessian, whole[name].hessian, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(statistics.mean_abs, whole[name].mean_abs, rtol=1e-6, atol=1e-6)


def test_a_single_part_is_the_whole_to_the_bit(block: Attention) -> None:
    batches = torch.randn(3, 40, WIDTH).unbind()
    whole = collected(block, *batches).layers.finish()
    added = StoredSums([part(block, *batches)]).of_block(PREFIX, find_linears(block)).layers.finish()
    assert all(torch.equal(added[name].hessian, whole[name].hessian) for name in whole)
    assert all(torch.equal(added[name].mean_abs, whole[name].mean_abs) for name in whole)


def test_a_cell_may_want_fewer_layers_than_a_shard_was_made_for(block: Attention) -> None:
    sums = StoredSums([part(block, torch.randn(9, WIDTH))])
    wanted = {name: linear for name, linear in find_linears(block).items() if name == "k"}
    assert list(sums.of_block(PREFIX, wanted).layers.finish()) == ["k"]


def test_a_layer_that_no_shard_was_made_for_is_named(block: Attention) -> None:
    kept = {
        name: one for name, one in part(block, torch.randn(9, WIDTH)).tensors.items() if ".o/" not in name
    }
    with pytest.raises(
        CalibrationError, match=r"nothing of model\.layers\.3\.o: it was made for other cells"
    ):
        StoredSums([MemoryPart(kept)]).of_block(PREFIX, find_linears(block))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (MOMENT, torch.full((packed_length(WIDTH),), torch.nan), "are not finite"),
        (MOMENT, torch.full((packed_length(WIDTH),), -1.0), "are negative"),
        (MOMENT.replace("second_moment", "abs_sum"), torch.full((WIDTH,), torch.inf), "are not finite"),
        (MOMENT.replace("second_moment", "abs_sum"), torch.full((WIDTH,), -1.0), "are negative"),
        (MOMENT.replace("second_moment", "tokens"), torch.tensor([-1]), "no number of tokens"),
        (MOMENT.replace("second_moment", "tokens"), torch.tensor([2**60]), "no number of tokens"),
    ],
)
def test_sums_that_can_be_none_are_refused(block: Attention, name: str, value: Tensor, said: str) -> None:
    hostile = part(block, torch.randn(9, WIDTH))
    hostile.tensors[name] = value
    with pytest.raises(CalibrationError, match=said):
        StoredSums([part(block, torch.randn(9, WIDTH)), hostile]).of_block(PREFIX, find_linears(block))


def test_a_layer_that_shares_another_input_in_one_part_than_in_the_others_is_refused(
    block: Attention,
) -> None:
    usual = part(block, torch.randn(9, WIDTH))
    odd = MemoryPart({name.replace(f",{PREFIX}.k", ""): one for name, one in usual.tensors.items()})
    with pytest.raises(CalibrationError, match=r"q does not share its input"):
        StoredSums([usual, odd])


class Experts(nn.Module):
    """Two experts that are modules; a token goes to the one that its first value says."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.ModuleDict({"up_proj": nn.Linear(WIDTH, 4)}) for _ in range(2))

    def forward(self, x: Tensor) -> None:
        for number, expert in enumerate(self.experts):
            if len(mine := x[(x[:, 0] > 0) == bool(number)]):
                expert["up_proj"](mine)  # type: ignore[index]


def test_an_expert_that_one_part_never_reaches_has_what_the_others_saw() -> None:
    block = Experts()
    positive, mixed = torch.rand(30, WIDTH), torch.randn(30, WIDTH)
    whole = collected(block, positive, mixed).layers.finish()
    added = StoredSums([part(block, positive), part(block, mixed)])
    made = added.of_block(PREFIX, find_linears(block)).layers.finish()
    assert [one.tokens for one in made.values()] == [one.tokens for one in whole.values()]
    for name, statistics in made.items():
        torch.testing.assert_close(statistics.hessian, whole[name].hessian, rtol=1e-6, atol=1e-6)


def test_an_expert_that_no_part_reaches_borrows_as_in_one_job() -> None:
    block, positive = Experts(), torch.rand(30, WIDTH)
    whole = collected(block, positive).layers.finish()
    added = StoredSums([part(block, positive[:9]), part(block, positive[9:])])
    made = added.of_block(PREFIX, find_linears(block)).layers.finish()
    assert [one.tokens for one in made.values()] == [0, 30]
    for name, statistics in made.items():
        torch.testing.assert_close(statistics.hessian, whole[name].hessian, rtol=1e-6, atol=1e-6)


def test_what_no_text_reaches_at_all_is_an_error_as_in_one_job() -> None:
    block = Experts()
    with pytest.raises(EngineError, match="never reached the linear layer"):
        StoredSums([MemoryPart({})]).of_block(PREFIX, find_linears(block)).layers.finish()


def test_experts_of_one_module_add_up_too(fused: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    # In bfloat16 a product is rounded, and parts make others of the same tokens.
    monkeypatch.setattr("quantize_lib.engine.precision.calibration_arithmetic", lambda _: "float32")
    batches = torch.randn(4, 30, 16).unbind()
    (whole,) = (ExpertStatistics(one) for one in collected(fused, *batches).experts.values())
    parts = [part(fused, *batches[:1]), part(fused, *batches[1:])]
    (sums,) = StoredSums(parts).of_block(PREFIX, find_linears(fused)).experts.values()
    added = ExpertStatistics(sums)
    for expert in range(sums.experts.count):
        one, other = whole.of(expert), added.of(expert)
        assert one.keys() == other.keys()
        for name, statistics in other.items():
            assert statistics.tokens == one[name].tokens
            torch.testing.assert_close(statistics.hessian, one[name].hessian, rtol=1e-5, atol=1e-6)


@pytest.fixture
def fused() -> nn.Module:
    """A block of Mixtral's own experts, which hold all of them in one tensor."""
    from transformers import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

    torch.manual_seed(2)
    config = MixtralConfig(hidden_size=16, intermediate_size=24, num_local_experts=4, num_experts_per_tok=2)
    config._experts_implementation = "eager"
    block = MixtralSparseMoeBlock(config).eval().requires_grad_(False)
    for parameter in block.parameters():
        parameter.normal_(0, 0.2)
    return _Flat(block)


class _Flat(nn.Module):
    """Takes tokens without a batch."""

    def __init__(self, mlp: nn.Module) -> None:
        super().__init__()
        self.mlp = mlp

    def forward(self, x: Tensor) -> None:
        self.mlp(x[None])
