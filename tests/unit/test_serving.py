"""Over how many GPUs a checkpoint splits, by which kernels it is read, and what its cache takes."""

from __future__ import annotations

from typing import Any

import pytest

from quantize_lib.architecture.attention import cache_bytes, heads_of
from quantize_lib.architecture.facts import Architecture
from quantize_lib.architecture.tensors import LayerInfo
from quantize_lib.formats import FORMATS, Format
from quantize_lib.formats.served import SERVERS, Served
from quantize_lib.methods.settings import Override, Settings
from quantize_lib.plan.serving import Serving, serving

LLAMA_3_8B = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "vocab_size": 128256,
    "rms_norm_eps": 1e-5,
}
SMOLLM2 = {
    **LLAMA_3_8B,
    "num_hidden_layers": 30,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
}
GPTQ = Settings(method="gptq", bits=4)


def model(config: dict[str, Any], names: dict[str, str] | None = None) -> Architecture:
    """One block of a Llama of these sizes; `names` are other names of its layers."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    size = config.get("head_dim", hidden // config["num_attention_heads"])
    queries, keys = config["num_attention_heads"] * size, config.get("num_key_value_heads", 1) * size
    sizes = {
        "self_attn.q_proj": (hidden, queries),
        "self_attn.k_proj": (hidden, keys),
        "self_attn.v_proj": (hidden, keys),
        "self_attn.o_proj": (queries, hidden),
        "mlp.gate_proj": (hidden, inner),
        "mlp.up_proj": (hidden, inner),
        "mlp.down_proj": (inner, hidden),
    }
    layers = tuple(
        LayerInfo(
            name=f"model.layers.0.{(names or {}).get(name, name)}",
            in_features=inputs,
            out_features=outputs,
            tensor=f"model.layers.0.{name}.weight",
        )
        for name, (inputs, outputs) in sizes.items()
    )
    return Architecture(config=config, tensors={}, layers=layers)


def served(config: dict[str, Any], settings: Settings = GPTQ, group_size: int = 128) -> Serving:
    return serving(model(config), settings, group_size=group_size)


def gpus(found: Serving) -> list[int]:
    return [split.gpus for split in found.splits]


def kernels(found: Serving) -> list[str]:
    return [split.kernels["vLLM"] for split in found.splits]


def test_a_usual_model_splits_over_every_power_of_two_that_divides_its_heads() -> None:
    found = served(LLAMA_3_8B)
    assert gpus(found) == [1, 2, 4, 8, 16]
    assert set(kernels(found)) == {"Marlin"}
    assert found.unknown is None
    assert found.limits == {}


def test_what_does_not_divide_is_named_for_powers_of_two() -> None:
    found = served(SMOLLM2, group_size=64)
    assert gpus(found) == [1, 3]
    assert found.limits == dict.fromkeys((2, 4, 8, 16), "9 heads")
    # 576 inputs are no multiple of Marlin's 128.
    assert kernels(found) == ["ExLlama, in float16"] * 2


@pytest.mark.parametrize(
    ("changes", "group_size", "limit"),
    [
        (
            {"num_key_value_heads": 6, "num_attention_heads": 24, "head_dim": 128},
            128,
            {4: "6 key-value heads"},
        ),
        ({"intermediate_size": 5632}, 128, {8: "groups of 128 in 704 inputs of down_proj"}),
        ({"intermediate_size": 4100}, -1, {8: "gate_proj (4096 × 4100)"}),
        (
            {"intermediate_size": 4112},
            -1,
            {4: "1028 outputs of gate_proj: 4-bit codes fill whole 32-bit words only"},
        ),
    ],
)
def test_heads_groups_and_words_stand_in_the_way(
    changes: dict[str, int], group_size: int, limit: dict[int, str]
) -> None:
    found = served({**LLAMA_3_8B, **changes}, group_size=group_size)
    ((number, text),) = limit.items()
    assert number not in gpus(found)
    assert found.limits[number] == text


def test_keys_of_one_head_may_be_on_several_gpus() -> None:
    assert gpus(served({**LLAMA_3_8B, "num_key_value_heads": 2})) == [1, 2, 4, 8, 16]
    assert gpus(served({**LLAMA_3_8B, "num_key_value_heads": 1})) == [1, 2, 4, 8, 16]


@pytest.mark.parametrize(
    ("settings", "group_size", "kernel"),
    [
        (GPTQ, 16, "ExLlama, in float16"),
        (Settings(method="gptq", bits=3), 128, "ExLlama, in float16"),
        (Settings(method="gptq", bits=4, own={"sym": False}), 128, "ExLlama, in float16"),
        (Settings(method="gptq", bits=8), -1, "Marlin"),
        (Settings(method="awq", bits=4), 128, "Marlin"),
        (Settings(method="awq", bits=4), 16, "AWQ GEMM, in float16"),
        (Settings(method="gptq", bits=4, format="compressed-tensors"), 128, "Marlin"),
        (Settings(method="gptq", bits=3, format="compressed-tensors"), 128, "a slower one than Marlin"),
        (Settings(method="fp8", bits=8), -1, "FP8 units; Marlin where a GPU has none"),
        (Settings(method="nvfp4", bits=4), -1, "Marlin"),
        (Settings(method="bitsandbytes", bits=4), -1, "bitsandbytes' own"),
    ],
)
def test_the_kernel_follows_from_bits_groups_and_zero_points(
    settings: Settings, group_size: int, kernel: str
) -> None:
    assert kernels(served(LLAMA_3_8B, settings, group_size))[0] == kernel


def test_a_format_that_servers_do_not_split_is_for_one_gpu() -> None:
    found = served(LLAMA_3_8B, Settings(method="bitsandbytes", bits=8), -1)
    assert gpus(found) == [1]
    assert found.limits[2] == "the format"


@pytest.mark.parametrize("entry", FORMATS.values(), ids=list(FORMATS))
def test_a_format_names_no_server_that_is_not_known(entry: Format) -> None:
    for bits in entry.bits:
        named = entry.kernels({(4096, 4096)}, Served(bits=bits, group_size=128, symmetric=True))
        assert set(named) <= set(SERVERS)


def test_a_format_that_names_no_server_leaves_the_split_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(FORMATS["gptq"]), "kernels", Format.kernels)
    found = served(LLAMA_3_8B)
    assert found.splits == ()
    assert found.unknown == "neither vLLM nor SGLang is known to read it in this format"


@pytest.mark.parametrize(
    ("config", "settings", "words"),
    [
        ({"num_attention_heads": None}, GPTQ, "config.json does not say the heads of its attention"),
        ({}, Settings(method="gptq", bits=4, own={"target_bits": 3.5}), "each layer gets its bits"),
        (
            {"architectures": ["LlamaForSequenceClassification"]},
            Settings(method="bitsandbytes", bits=8),
            "no text",
        ),
    ],
)
def test_what_cannot_be_known_is_said_to_be_so(
    config: dict[str, Any], settings: Settings, words: str
) -> None:
    facts = model(LLAMA_3_8B)
    changed = Architecture(config={**LLAMA_3_8B, **config}, tensors={}, layers=facts.layers)
    found = serving(changed, settings, group_size=128)
    assert found.splits == ()
    assert found.unknown is not None
    assert words in found.unknown


def test_a_layer_whose_name_nobody_knows_leaves_the_split_open() -> None:
    facts = model(LLAMA_3_8B, {"mlp.up_proj": "mlp.widen"})
    assert serving(facts, GPTQ, group_size=128).unknown == "it is not known how widen are split"


def test_queries_keys_and_values_in_one_matrix_are_split_by_heads() -> None:
    config = {**LLAMA_3_8B, "num_key_value_heads": 2}
    fused = LayerInfo(
        name="model.layers.0.self_attn.qkv_proj", in_features=4096, out_features=(32 + 4) * 128, tensor="t"
    )
    facts = Architecture(config=config, tensors={}, layers=(fused,))
    assert gpus(serving(facts, GPTQ, group_size=128)) == [1, 2, 4, 8, 16]


def test_overrides_count_with_their_own_groups() -> None:
    wide = Settings(
        method="gptq", bits=4, overrides=(Override(modules="*down_proj", bits=8, group_size=128),)
    )
    assert gpus(served({**LLAMA_3_8B, "intermediate_size": 5632}, wide, 32)) == [1, 2, 4]


def test_a_cache_is_two_vectors_for_each_block_and_key_value_head() -> None:
    assert cache_bytes(LLAMA_3_8B, 1000) == 2 * 32 * 8 * 128 * 2 * 1000
    assert served(LLAMA_3_8B).cache_bytes == 131_072_000
    old = {"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12}
    assert cache_bytes(old, 1000) == 2 * 12 * 768 * 2 * 1000
    nested = {"model_type": "x", "text_config": LLAMA_3_8B}
    assert cache_bytes(nested, 1) == 131_072


@pytest.mark.parametrize(
    "changes",
    [
        {"kv_lora_rank": 512},
        {"layer_types": ["full_attention", "linear_attention"]},
        {"layer_types": ["sliding_attention"]},
        {"sliding_window": 4096},
        {"hidden_size": None},
        {"num_hidden_layers": "32"},
        {"num_attention_heads": 33},
    ],
)
def test_a_cache_that_does_not_follow_from_the_config_is_not_guessed(changes: dict[str, Any]) -> None:
    assert cache_bytes({**LLAMA_3_8B, **changes}, 1000) is None


def test_one_head_of_keys_for_all_is_read_where_a_config_says_so() -> None:
    found = heads_of(
        {"model_type": "falcon", "hidden_size": 4544, "num_attention_heads": 71, "multi_query": True}
    )
    assert found is not None
    assert (found.query, found.key_value, found.size) == (71, 1, 64)
    assert gpus(served(LLAMA_3_8B | {"sliding_window": 4096})) == [1, 2, 4, 8, 16]
