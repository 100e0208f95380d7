"""Which tensor of a GGUF file gets which type; an integration test compares with what llama.cpp chooses."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from quantize_lib.gguf_file.mix import Mix, is_router
from quantize_lib.gguf_file.types import FILE_TYPES

LAYERS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def mix(file_type: str, *, blocks: int = 32, tied: bool = False, shares_values: bool = True) -> Mix:
    return Mix(file_type=file_type, blocks=blocks, tied=tied, shares_values=shares_values)


def kinds(one: Mix, layer: str, columns: int) -> list[str]:
    return [one.tensor_type(f"blk.{block}.{layer}.weight", columns) for block in range(one.blocks)]


def test_half_of_the_values_and_down_projections_of_q4_k_m_get_six_bits() -> None:
    one = mix("Q4_K_M")
    for layer in LAYERS:
        found = kinds(one, layer, 4096)
        wanted = {"Q6_K": 16, "Q4_K": 16} if layer in ("attn_v", "ffn_down") else {"Q4_K": 32}
        assert Counter(found) == wanted, layer
    raised = kinds(one, "ffn_down", 4096)
    assert [block for block, kind in enumerate(raised) if kind == "Q6_K"] == [
        *range(4), *range(6, 28, 3), *range(28, 32)
    ]  # fmt: skip


@pytest.mark.parametrize(("file_type", "tied", "wanted"), [
    ("Q8_0", True, "Q8_0"), ("Q6_K", True, "Q6_K"), ("Q4_K_M", True, "Q6_K"), ("Q4_0", True, "Q6_K"),
    ("Q4_K_M", False, "Q4_K"), ("Q4_0", False, "Q4_0"), ("Q5_K_M", False, "Q5_K"),
])  # fmt: skip
def test_an_embedding_that_is_the_output_layer_too_gets_the_output_layers_type(
    file_type: str, tied: bool, wanted: str
) -> None:
    assert mix(file_type, tied=tied).tensor_type("token_embd.weight", 4096) == wanted
    assert mix(file_type).tensor_type("output.weight", 4096) in ("Q8_0", "Q6_K")


@pytest.mark.parametrize(("file_type", "columns", "wanted"), [
    ("Q4_K_M", 576, "Q5_0"), ("Q5_K_M", 576, "Q5_1"), ("Q6_K", 576, "Q8_0"), ("Q8_0", 576, "Q8_0"),
    ("Q4_0", 576, "Q4_0"), ("Q4_K_M", 640, "Q5_0"), ("Q4_K_M", 1536, "Q4_K"), ("Q8_0", 80, "F16"),
    ("Q4_K_M", 80, "F16"),
])  # fmt: skip
def test_rows_that_blocks_of_256_do_not_fit_into_get_a_type_that_they_do(
    file_type: str, columns: int, wanted: str
) -> None:
    assert mix(file_type).tensor_type("blk.9.attn_q.weight", columns) == wanted


def test_the_first_down_projections_of_q4_0_get_an_offset_as_importance_is_known() -> None:
    assert kinds(mix("Q4_0"), "ffn_down", 4096) == ["Q4_1"] * 4 + ["Q4_0"] * 28


@pytest.mark.parametrize("shares_values", [True, False])
def test_values_of_the_70b_models_get_more_bits_where_heads_share_them(shares_values: bool) -> None:
    found = kinds(mix("Q4_K_M", blocks=80, shares_values=shares_values), "attn_v", 8192)
    assert Counter(found) == {"Q6_K": 40, "Q5_K" if shares_values else "Q4_K": 40}


def test_one_layer_of_queries_keys_and_values_gets_the_bits_of_values() -> None:
    one = mix("Q4_K_M")
    assert kinds(one, "attn_qkv", 4096) == kinds(one, "attn_v", 4096)


def test_experts_get_the_types_of_other_feed_forward_layers_and_routers_none() -> None:
    for experts in (8, 64):
        one = replace(mix("Q4_K_M"), experts=experts)
        for layer in ("ffn_gate", "ffn_up", "ffn_down"):
            assert kinds(one, f"{layer}_exps", 4096) == kinds(mix("Q4_K_M"), layer, 4096)
    assert not is_router("blk.0.ffn_gate_exps.weight")
    assert is_router("blk.0.ffn_gate_inp.weight")


@pytest.mark.parametrize(("file_type", "layer", "wanted"), [
    ("Q4_K_M", "attn_v", "Q8_0"), ("Q4_0", "attn_k", "Q8_0"), ("Q4_K_M", "attn_q", "Q4_K"),
    ("Q4_K_M", "attn_output", "Q5_K"), ("Q5_K_M", "attn_output", "Q5_K"), ("Q6_K", "attn_output", "Q6_K"),
])  # fmt: skip
def test_attention_in_a_mixture_of_eight_experts_gets_more_bits(
    file_type: str, layer: str, wanted: str
) -> None:
    assert set(kinds(replace(mix(file_type), experts=8), layer, 4096)) == {wanted}


@pytest.mark.parametrize("file_type", FILE_TYPES)
def test_a_types_name_begins_with_its_bits(file_type: str) -> None:
    assert file_type.startswith(f"Q{FILE_TYPES[file_type].bits}_")
