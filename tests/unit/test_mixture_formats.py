"""What formats hold of mixtures of experts, and of models whose classes get in a loader's way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from quantize_lib.architecture.assignment import assign, format_of, left_out
from quantize_lib.architecture.group_sizes import resolve_group_size, resolved_layers
from quantize_lib.architecture.tensors import LayerInfo, TensorInfo
from quantize_lib.errors import SourceError, UsageError
from quantize_lib.formats import Traits, get_format, resolve_format
from quantize_lib.formats.compressed_base import DEQUANTIZE
from quantize_lib.methods import Override, Settings
from quantize_lib.source.facts import ModelFacts
from tests.support.rounding import checkpoint_context

_EXPERTS = "model.layers.0.mlp.experts"


def _settings(method: str = "gptq", format_name: str = "auto", *, bits: int = 4, **own: Any) -> Settings:
    return Settings(method=method, bits=bits, format=format_name, own=own)


def _mixture(model_type: str, *, fused: bool = False) -> ModelFacts:
    """One linear layer of attention, and three of two experts each."""
    attention = LayerInfo(
        name="model.layers.0.self_attn.o_proj",
        in_features=128,
        out_features=64,
        tensor="model.layers.0.self_attn.o_proj.weight",
    )
    layers = tuple(
        LayerInfo(
            name=f"{_EXPERTS}.{expert}.{part}",
            in_features=64,
            out_features=64,
            tensor=f"{_EXPERTS}.{part}" if fused else f"{_EXPERTS}.{expert}.{part}.weight",
            expert=expert if fused else None,
        )
        for expert in range(2)
        for part in ("gate_proj", "up_proj", "down_proj")
    )
    return ModelFacts(
        config={"model_type": model_type},
        revision="sha256:0",
        tensors={},
        layers=(attention, *layers),
        experts=True,
        weight_bytes=0,
        download_bytes=0,
    )


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_a_mixture_is_stored_as_compressed_tensors_expert_by_expert(method: str) -> None:
    facts = _mixture("qwen3_moe")
    assert format_of(facts, _settings(method)).name == "compressed-tensors"
    assert len(assign(facts, _settings(method))) == 7
    assert left_out(facts, _settings(method)) == []


def test_gptqs_own_format_holds_a_mixture_that_a_loader_reads_where_it_is_asked_for() -> None:
    facts = _mixture("qwen3_moe")
    assert format_of(facts, _settings(format_name="gptq")).name == "gptq"
    assert len(assign(facts, _settings(format_name="gptq"))) == 7
    with pytest.raises(UsageError, match="no loader that was tried reads this mixture's experts"):
        format_of(_mixture("glm4_moe"), _settings(format_name="gptq"))


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_experts_that_lie_in_one_tensor_are_refused_with_their_share_of_the_weights(method: str) -> None:
    with pytest.raises(SourceError) as caught:
        format_of(_mixture("gpt_oss", fused=True), _settings(method))
    assert (
        "gptq, compressed-tensors: no loader reads quantized experts where one tensor of the files holds "
        "those of all, and 75% of the layers' weights would stay in full precision"
    ) in caught.value.message
    assert caught.value.hint == (
        "With allow_partial: true they stay in full precision, and the card says so."
    )


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_where_it_is_allowed_such_experts_stay_and_their_share_is_told(method: str) -> None:
    facts, settings = _mixture("gpt_oss", fused=True), _settings(method, allow_partial=True)
    assert format_of(facts, settings).name == "compressed-tensors"
    assert [layer.name for layer, _, _ in assign(facts, settings)] == ["model.layers.0.self_attn.o_proj"]
    told, share = left_out(facts, settings)
    assert "model.layers.mlp.experts.gate_proj" in told
    assert share == "75% of the linear layers' weights are in full precision"


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes"])
def test_a_model_whose_linear_layers_hold_little_is_refused_with_the_share_or_allowed(method: str) -> None:
    experts = TensorInfo(name=f"{_EXPERTS}.w1", dtype="BF16", shape=(384, 64), file="model.safetensors")
    facts = replace(
        _mixture("dbrx"),
        layers=_mixture("dbrx").layers[:1],
        tensors={experts.name: experts},
        kept={experts.name: "a parameter that no linear layer holds"},
    )
    with pytest.raises(SourceError, match="75% of the blocks' weights are in no linear layer") as caught:
        format_of(facts, _settings(method))
    assert caught.value.hint is not None
    assert "allow_partial" in caught.value.hint
    allowed = _settings(method, allow_partial=True)
    assert len(assign(facts, allowed)) == 1
    assert left_out(facts, allowed) == ["75% of the blocks' weights are in full precision"]


@pytest.mark.parametrize("method", ["gptq", "bitsandbytes"])
def test_experts_of_one_tensor_that_transformers_takes_apart_on_loading_are_quantized(method: str) -> None:
    facts = _mixture("llama4_text", fused=True)
    assert len(assign(facts, _settings(method))) == 7


def test_bitsandbytes_refuses_a_mixture_as_long_as_it_is_not_allowed_to_leave_its_experts() -> None:
    facts = _mixture("qwen3_moe")
    with pytest.raises(SourceError, match="75% of the layers' weights would stay in full precision"):
        format_of(facts, _settings("bitsandbytes"))
    allowed = _settings("bitsandbytes", allow_partial=True)
    assert len(assign(facts, allowed)) == 1
    assert left_out(facts, allowed)[-1] == "75% of the linear layers' weights are in full precision"


@pytest.mark.parametrize("model_type", ["mamba", "gpt_bigcode", "zamba2", "falcon"])
def test_where_a_class_wants_its_weights_auto_takes_the_format_that_is_loaded_dequantized(
    model_type: str,
) -> None:
    traits, settings = Traits(model_type=model_type), _settings()
    chosen = resolve_format(settings, traits)
    assert chosen.name == "compressed-tensors"
    context = checkpoint_context(settings, {"a": (4, 32)}, group_size=32)
    assert DEQUANTIZE not in chosen.quantization_config(context)
    config = chosen.quantization_config(replace(context, traits=traits))
    assert config[DEQUANTIZE] is True
    assert chosen.modes(config) == ("",)


def test_a_loader_that_replaces_layers_by_their_names_is_not_asked_for_names_that_are_numbers() -> None:
    traits = Traits(model_type="ctrl", numbered=True)
    assert resolve_format(_settings(), traits).name == "compressed-tensors"
    assert resolve_format(_settings("awq"), traits).name == "awq"


def test_experts_have_a_group_of_their_own_where_the_layers_beside_them_have_other_bits() -> None:
    settings = _settings(format_name="compressed-tensors")
    expert = f"{_EXPERTS}.1.up_proj"
    schemes = {"language.layers.0.o_proj": (8, 32), f"{_EXPERTS}.0.up_proj": (4, 32), expert: (4, 32)}
    context = replace(
        checkpoint_context(settings, schemes, group_size=32),
        experts=frozenset({f"{_EXPERTS}.0.up_proj", expert}),
        modules={"language.layers.0.o_proj": "model.layers.0.o_proj"},
    )
    groups = get_format("compressed-tensors").quantization_config(context)["config_groups"]
    assert [group["targets"] for group in groups.values()] == [
        ["model.layers.0.o_proj"],
        [r"re:.*experts\.\d+\..*"],
    ]


@pytest.mark.parametrize(
    ("model_type", "bits", "sixteen_bits", "reason"),
    [
        ("xlnet", 4, True, "in 16 bits"),
        ("xlnet", 8, True, "in 16 bits"),
        ("rwkv", 4, False, "rounds some layers of this model again"),
        ("prophetnet", 8, False, "no input of four dimensions"),
    ],
)
def test_bitsandbytes_refuses_what_transformers_would_compute_wrong_or_not_at_all(
    model_type: str, bits: int, sixteen_bits: bool, reason: str
) -> None:
    traits = Traits(model_type=model_type, sixteen_bits=sixteen_bits)
    with pytest.raises(SourceError, match=reason):
        resolve_format(_settings("bitsandbytes", bits=bits), traits)
    other = Traits(model_type=model_type) if sixteen_bits else replace(traits, model_type="llama")
    assert resolve_format(_settings("bitsandbytes", bits=bits), other).name == "bitsandbytes"


def test_bitsandbytes_leaves_what_its_kernels_do_not_take() -> None:
    def layer(name: str, inputs: int, outputs: int) -> LayerInfo:
        return LayerInfo(name=name, in_features=inputs, out_features=outputs, tensor=f"{name}.weight")

    chosen, traits = (
        get_format("bitsandbytes"),
        Traits(model_type="mamba", sizes=frozenset({(256, 80), (64, 256)})),
    )
    odd = layer("backbone.layers.0.mixer.x_proj", 256, 80)
    assert chosen.leaves(traits, odd, 4) == "a CPU's kernel takes multiples of 64 inputs and 32 outputs"
    assert chosen.leaves(traits, odd, 8) is None
    with pytest.raises(SourceError, match="none of its layers fits"):
        resolve_format(_settings("bitsandbytes"), replace(traits, sizes=frozenset({(256, 80)})))
    latent = layer("model.layers.0.self_attn.kv_b_proj", 64, 256)
    assert chosen.leaves(traits, latent, 4) is None
    assert chosen.leaves(traits, latent, 8) == "LLM.int8 takes no input of four dimensions"


def test_experts_that_are_not_alike_are_refused_as_no_loader_reads_them() -> None:
    facts = _mixture("qwen3_moe")
    mixed = Settings(method="gptq", bits=4, overrides=(Override(modules="*.experts.1.*", bits=8),))
    with pytest.raises(UsageError, match=r"experts\.1\.gate_proj and .* ask for other bits"):
        resolve_group_size(facts, mixed)
    partly = Settings(method="gptq", bits=4, modules_to_not_convert=("*.experts.1.down_proj",))
    with pytest.raises(UsageError, match=r"experts\.1\.down_proj would stay in full precision"):
        resolve_group_size(facts, partly)


def test_all_experts_may_have_bits_of_their_own_or_stay() -> None:
    facts = _mixture("qwen3_moe")
    wide = Settings(method="gptq", bits=4, overrides=(Override(modules="*.experts.*", bits=8),))
    assert {bits for layer, bits, _ in resolved_layers(facts, wide) if layer.of_expert} == {8}
    without = Settings(method="gptq", bits=4, modules_to_not_convert=("*.experts.*",))
    assert [layer.name for layer, _, _ in resolved_layers(facts, without)] == [
        "model.layers.0.self_attn.o_proj"
    ]


def test_llm_int8_is_refused_where_experts_take_their_inputs_in_one_product() -> None:
    facts = _mixture("llama4_text", fused=True)
    assert format_of(facts, _settings("bitsandbytes")).name == "bitsandbytes"
    with pytest.raises(SourceError, match="rounds inputs as well"):
        format_of(facts, _settings("bitsandbytes", bits=8, allow_partial=True))
