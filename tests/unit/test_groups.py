from __future__ import annotations

import pytest

from quantize_lib.architecture.assignment import format_of
from quantize_lib.architecture.tensors import LayerInfo
from quantize_lib.errors import ExitCode, UsageError
from quantize_lib.methods.settings import GroupSize, Override, Settings
from quantize_lib.source import resolve_group_size, resolved_layers
from quantize_lib.source.facts import ModelFacts


def _layer(name: str, inputs: int, outputs: int) -> LayerInfo:
    return LayerInfo(name=name, in_features=inputs, out_features=outputs, tensor=f"{name}.weight")


def facts(hidden: int = 576, mlp: int = 1536, out: int = 192) -> ModelFacts:
    layers = []
    for block in range(2):
        prefix = f"model.layers.{block}."
        layers += [
            _layer(prefix + "self_attn.q_proj", hidden, out),
            _layer(prefix + "mlp.down_proj", mlp, hidden),
        ]
    return ModelFacts(
        config={"model_type": "llama"},
        revision="",
        tensors={},
        layers=tuple(layers),
        weight_bytes=0,
        download_bytes=0,
    )


def settings(
    method: str = "gptq",
    bits: int = 4,
    group_size: GroupSize = "auto",
    *,
    keep: tuple[str, ...] = (),
    overrides: tuple[Override, ...] = (),
    format: str = "auto",
) -> Settings:
    return Settings(
        method=method,
        bits=bits,
        group_size=group_size,
        modules_to_not_convert=keep,
        overrides=overrides,
        format=format,
    )


@pytest.mark.parametrize(("hidden", "expected"), [(1024, 128), (576, 64), (96, 32), (48, 16)])
def test_auto_is_the_largest_size_that_fits_every_layer(hidden: int, expected: int) -> None:
    assert resolve_group_size(facts(hidden, out=64), settings(bits=8)) == expected


def test_layers_that_are_kept_do_not_count() -> None:
    assert resolve_group_size(facts(), settings(keep=("*.q_proj",))) == 128


def test_layers_with_a_group_size_of_their_own_do_not_count() -> None:
    override = Override(modules="*.q_proj", group_size=32)
    assert resolve_group_size(facts(), settings(overrides=(override,))) == 128
    assert [size for _, _, size in resolved_layers(facts(), settings(overrides=(override,)))] == [32, 128] * 2


def test_an_explicit_size_that_fits_is_taken() -> None:
    assert resolve_group_size(facts(), settings(group_size=16)) == 16
    assert resolve_group_size(facts(), settings(group_size=-1)) == -1


def test_a_size_that_does_not_fit_names_layer_size_and_what_fits() -> None:
    with pytest.raises(UsageError) as caught:
        resolve_group_size(facts(), settings(group_size=128))
    assert str(caught.value) == (
        "group_size 128 does not divide the input of model.layers.0.self_attn.q_proj (576)\n"
        "  Sizes that fit every layer: 64, 32, 16 or -1."
    )
    assert caught.value.exit_code == ExitCode.USAGE


def test_an_overrides_size_is_checked_against_its_own_layers() -> None:
    override = Override(modules="*.q_proj", group_size=128)
    with pytest.raises(UsageError, match=r"group_size 128 does not divide the input of .*q_proj"):
        resolve_group_size(facts(), settings(group_size=64, overrides=(override,)))


def test_auto_says_which_layer_nothing_fits() -> None:
    with pytest.raises(UsageError) as caught:
        resolve_group_size(facts(hidden=72), settings())
    assert caught.value.message == (
        "group_size auto: none of 128, 64, 32, 16 divides the input of model.layers.0.self_attn.q_proj (72)"
    )


def test_bitsandbytes_has_no_group_size() -> None:
    assert resolve_group_size(facts(hidden=72), settings("bitsandbytes", 8)) == -1
    assert {size for _, _, size in resolved_layers(facts(), settings("bitsandbytes", 8))} == {-1}


def test_the_first_override_that_matches_counts() -> None:
    overrides = (
        Override(modules="*.1.*.q_proj", bits=8),
        Override(modules="*.q_proj", bits=3, group_size=32),
    )
    layers = resolved_layers(facts(), settings(overrides=overrides))
    assert [(layer.name[13:], bits, size) for layer, bits, size in layers] == [
        ("0.self_attn.q_proj", 3, 32),
        ("0.mlp.down_proj", 4, 64),
        ("1.self_attn.q_proj", 8, 64),
        ("1.mlp.down_proj", 4, 64),
    ]


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [("q_proj", "*.q_proj"), ("*.q_porj", "*.q_proj"), ("mlp.down_proj", "*.mlp.down_proj")],
)
def test_a_pattern_that_matches_nothing_is_answered_with_a_suggestion(pattern: str, meant: str) -> None:
    for kind in (settings(keep=(pattern,)), settings(overrides=(Override(modules=pattern, bits=8),))):
        with pytest.raises(UsageError) as caught:
            resolve_group_size(facts(), kind)
        assert f"the pattern {pattern!r} matches no linear layer of the model" in caught.value.message
        assert caught.value.hint == (
            f"Perhaps you meant `{meant}`? Patterns match full names such as "
            "model.layers.0.self_attn.q_proj; layers of a block: self_attn.q_proj, mlp.down_proj."
        )


def test_a_pattern_unlike_anything_gets_no_suggestion() -> None:
    with pytest.raises(UsageError) as caught:
        resolve_group_size(facts(), settings(keep=("zzzz",)))
    assert caught.value.hint is not None
    assert "Perhaps" not in caught.value.hint


def test_to_keep_the_head_is_right_though_it_is_never_quantized() -> None:
    assert resolve_group_size(facts(), settings(keep=("lm_head",))) == 64


def test_to_keep_everything_leaves_nothing_to_do() -> None:
    with pytest.raises(UsageError, match="nothing is left to quantize"):
        resolve_group_size(facts(), settings(keep=("*",)))


@pytest.mark.parametrize(
    ("method", "bits", "out", "fits"),
    [
        ("gptq", 4, 12, False),
        ("gptq", 8, 12, True),
        ("gptq", 3, 48, False),
        ("gptq", 3, 64, True),
        ("gptq", 2, 16, True),
        ("awq", 4, 12, False),
        ("awq", 4, 24, True),
        ("bitsandbytes", 4, 13, True),
    ],
)
def test_outputs_that_fill_no_whole_words_cannot_be_packed(
    method: str, bits: int, out: int, fits: bool
) -> None:
    if fits:
        assert resolved_layers(facts(out=out), settings(method, bits, format=method))
        return
    with pytest.raises(UsageError) as caught:
        resolve_group_size(facts(out=out), settings(method, bits, format=method))
    assert f"the output of model.layers.0.self_attn.q_proj ({out}) cannot be packed" in caught.value.message


def test_another_format_is_taken_where_the_methods_own_cannot_pack_a_layer() -> None:
    assert format_of(facts(out=192), settings("gptq")).name == "gptq"
    assert format_of(facts(out=12), settings("gptq")).name == "compressed-tensors"
    assert format_of(facts(out=12), settings("gptq", keep=("*.q_proj",))).name == "gptq"
