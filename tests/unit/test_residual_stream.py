"""Layers that add to a block's residual stream are found by what the block does, not by their names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from quantize_lib.engine.linears import find_linears
from quantize_lib.engine.precision import calibrating
from quantize_lib.engine.residual_stream import Addition, added_to

WIDTH = 8


class Block(nn.Module):
    """Two parts with a norm in front of each, as most families have it."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.enter, self.leave = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def attention(self, states: Tensor) -> Tensor:
        made: Tensor = self.leave(self.enter(self.one(states)).tanh())
        return made

    def mlp(self, states: Tensor) -> Tensor:
        made: Tensor = self.down(self.up(self.two(states)).tanh())
        return made

    def forward(self, states: Tensor) -> Any:
        states = states + self.attention(states)
        return (states + self.mlp(states), None)


class Parallel(Block):
    def forward(self, states: Tensor) -> Any:
        return states + self.attention(states) + self.mlp(states)


class Scaled(Block):
    def forward(self, states: Tensor) -> Any:
        states = states + 0.5 * self.attention(states)
        return states + self.mlp(states)


class NormedAfter(Block):
    def forward(self, states: Tensor) -> Any:
        states = states + self.one(self.attention(states))
        return states + self.two(self.mlp(states))


class InPlace(Block):
    def forward(self, states: Tensor) -> Any:
        states = states.clone()
        before = self.one(states)
        states += self.leave(self.enter(before).tanh())
        return states + self.mlp(states)


def _found(block: Block, **given: Any) -> dict[str, str]:
    """Where layers add to."""
    return {layer: addition.to for layer, addition in _additions(block, **given).items()}


def _additions(block: Block, **given: Any) -> dict[str, Addition]:
    torch.manual_seed(0)
    with torch.inference_mode(), added_to(block, find_linears(block)) as found:
        states = torch.randn(2, 20, WIDTH)
        block(states=states) if given else block(states)
    return found


def test_a_layer_adds_to_what_the_norm_of_its_part_or_the_next_one_reads() -> None:
    assert _found(Block()) == {"leave": "", "down": "two"}


def test_a_block_that_gets_its_states_by_name_is_as_any_other() -> None:
    assert _found(Block(), by_name=True) == {"leave": "", "down": "two"}


def test_a_sum_in_place_is_seen_as_it_was_before() -> None:
    assert _found(InPlace())["down"] == "two"


def test_of_parts_side_by_side_the_sum_that_nobody_reads_is_not_found() -> None:
    assert "down" not in _found(Parallel())


def test_what_is_multiplied_before_it_is_added_is_found_with_its_factor() -> None:
    found = _additions(Scaled())
    assert found == {"leave": Addition(to="", factor=found["leave"].factor), "down": Addition(to="two")}
    assert found["leave"].factor == pytest.approx(0.5, rel=1e-5)


def test_what_is_normed_before_it_is_added_is_not_found() -> None:
    assert _found(NormedAfter()) == {}


def test_a_layer_that_is_silent_on_the_text_proves_nothing() -> None:
    block = Block()
    for value in block.down.parameters():
        nn.init.zeros_(value)
    assert _found(block) == {"leave": ""}


def test_a_module_that_is_called_twice_has_no_one_input() -> None:
    block = Block()
    block.two = block.one
    assert _found(block) == {"leave": ""}


def test_nothing_is_left_behind_on_the_block() -> None:
    block = Block()
    _found(block)
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in block.modules())


_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "num_hidden_layers": 1,
    "vocab_size": 40,
}
_GPT2: dict[str, Any] = {"n_embd": 32, "n_head": 4, "n_layer": 1, "vocab_size": 40}
_EXPERTS: dict[str, Any] = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "decoder_sparse_step": 1,
}
_LLAMA = {"self_attn.o_proj": "", "mlp.down_proj": "post_attention_layernorm"}


@pytest.mark.parametrize(
    ("model_type", "sizes", "expected"),
    [
        ("llama", _SIZES, _LLAMA),
        ("qwen3", _SIZES, _LLAMA),
        ("gpt2", _GPT2, {"attn.c_proj": "", "mlp.c_proj": "ln_2"}),
        # Experts add to a sum of their own first.
        ("qwen3_moe", _SIZES | _EXPERTS, {"self_attn.o_proj": ""}),
        # Norms behind attention and MLP.
        ("gemma2", _SIZES, {}),
        # A factor.
        ("granite", _SIZES | {"residual_multiplier": 0.22}, _LLAMA),
        # Attention and MLP side by side.
        ("cohere", _SIZES, {}),
    ],
)
def test_in_real_families_these_layers_add(
    model_type: str, sizes: dict[str, Any], expected: dict[str, str]
) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **sizes)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    block = model.transformer.h[0] if model_type == "gpt2" else model.model.layers[0]
    linears = {name: one for name, one in find_linears(block).items() if one.experts is None}
    with torch.inference_mode(), calibrating(torch.device("cpu")), added_to(block, linears) as found:
        model(torch.arange(20)[None])
    assert {layer: addition.to for layer, addition in found.items()} == expected
    factor = sizes.get("residual_multiplier", 1.0)
    assert all(one.factor == pytest.approx(factor, rel=1e-2) for one in found.values())
