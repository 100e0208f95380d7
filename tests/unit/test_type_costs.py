"""What types of tensors are measured to cost, in a tiny model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path

import pytest
import torch

from quantize_lib.architecture.assignment import whole_model
from quantize_lib.engine.bit_costs import measure_costs
from quantize_lib.engine.model import StreamedModel
from quantize_lib.formats import Trial, get_format
from quantize_lib.formats.rounded import Grid
from quantize_lib.methods import Settings
from quantize_lib.methods.settings import LayerWidth
from tests.support.quantizing import Silent, model_facts
from tests.support.tiny_models import VOCABULARY, save_tiny

Costs = Mapping[str, Mapping[LayerWidth, float]]
SIZES = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2}
DOWN, UP = "model.layers.0.mlp.down_proj", "model.layers.1.mlp.up_proj"


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("costs") / "model", tied=request.param, sizes=SIZES)


@cache
def measured(base: Path, only: str | None = None) -> Costs:
    """What every type costs, or one alone."""
    facts, chosen = model_facts(base), get_format("gguf")
    whole = whole_model(facts, Settings(method="gguf", bits=4, own={"type": "auto", "target_bits": 5}))
    choices: dict[str, Collection[LayerWidth]] = {
        name.removesuffix(".weight"): kinds
        for name, sizes in chosen.choices(whole).items()
        if (kinds := [kind for kind in sizes if only in (None, kind)])
    }
    model = StreamedModel(base, facts, device=torch.device("cpu"))
    ids = torch.randint(3, VOCABULARY, (8, 64), generator=torch.Generator().manual_seed(2))
    trial = Trial(method="gguf", grid=Grid(symmetric=False), kinds=tuple(chosen.kinds.items()))
    return {unit.layers[0]: unit.costs for unit in measure_costs(model, ids, choices, trial, Silent())}


def test_every_tensor_has_a_cost_for_every_type_that_it_may_have(base: Path) -> None:
    costs = measured(base)
    outside = {"model.embed_tokens"} | (
        {"lm_head"} if "lm_head.weight" in model_facts(base).tensors else set()
    )
    assert outside <= costs.keys()
    assert len(costs) == len(outside) + 2 * 7
    assert tuple(costs[DOWN]) == ("Q2_K", "Q3_K", "IQ4_XS", "Q4_K", "Q5_K", "Q6_K", "Q8_0")
    assert tuple(costs[UP]) == ("IQ4_NL", "Q5_0", "Q5_1", "Q8_0")


def test_a_tensor_costs_less_the_more_bits_it_has(base: Path) -> None:
    for name, costs in measured(base).items():
        falling = [
            costs[kind] for kind in ("Q2_K", "IQ4_NL", "IQ4_XS", "Q5_K", "Q5_0", "Q8_0") if kind in costs
        ]
        assert falling == sorted(falling, reverse=True), name
        assert falling[0] > 0


@pytest.mark.parametrize(("name", "kind"), [(DOWN, "Q5_K"), (DOWN, "Q8_0"), (UP, "Q8_0")])
def test_what_a_type_costs_by_comparison_is_near_what_is_seen_of_it_alone(
    base: Path, name: str, kind: str
) -> None:
    assert measured(base)[name][kind] == pytest.approx(measured(base, kind)[name][kind], rel=0.3)
