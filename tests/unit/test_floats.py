"""FP8, NVFP4 and MXFP4: what is stored is the package's own, and scales are no worse than the plain ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from quantize_lib.architecture.tensors import LayerInfo
from quantize_lib.engine.block import BlockInput, LinearInput
from quantize_lib.engine.methods.floats import e2m1_codes, nearest_e2m1
from quantize_lib.engine.rounded_inputs import round_inputs_of, rounded
from quantize_lib.errors import EngineError, SourceError
from quantize_lib.formats import Format, Traits, format_of_config, get_format, named_format, resolve_format
from quantize_lib.formats.compressed_base import DEQUANTIZE, LIBRARY
from quantize_lib.formats.rounded import InputRounding
from quantize_lib.methods import Settings, settings_of
from quantize_lib.precision import Precision
from tests.support.rounding import PackedBlock, checkpoint_context, make_block

PRESETS: dict[str, tuple[Settings, str]] = {
    "FP8_DYNAMIC": (settings_of("fp8", 8, {}), "float-quantized"),
    "FP8_BLOCK": (settings_of("fp8", 8, {"scales": "block"}), "float-quantized"),
    "NVFP4A16": (settings_of("nvfp4", 4, {}), "nvfp4-pack-quantized"),
    "MXFP4A16": (settings_of("mxfp4", 4, {}), "mxfp4-pack-quantized"),
}
"""The package's name of a scheme → the cell that is stored so, and the layout."""
DENSE = Traits(model_type="llama")
MIXTURE = Traits(model_type="qwen3_moe", experts=True)


def _weight(rows: int = 200, columns: int = 256, *, seed: int = 0) -> Tensor:
    """Of very different rows, and with a few large weights as models have them."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator) * torch.logspace(-4, 0, rows)[:, None]
    weight[::7, ::31] *= 8
    return weight


def _made(settings: Settings, **weights: Tensor) -> PackedBlock:
    linears = {
        name: LinearInput(
            name=name, weight=weight, bias=None, statistics=None, bits=settings.bits, group_size=-1
        )
        for name, weight in weights.items()
    }
    block = BlockInput(index=0, linears=linears, params={}, folds=(), dtype=torch.bfloat16)
    return make_block(block, settings)


def _parts(made: PackedBlock, name: str = "fc") -> dict[str, Tensor]:
    return {
        key.removeprefix(f"{name}."): value
        for key, value in made.tensors.items()
        if key.startswith(f"{name}.")
    }


def _scheme(preset: str) -> Any:
    from compressed_tensors.quantization import preset_name_to_scheme

    scheme = preset_name_to_scheme(preset, ["Linear"])
    scheme.format = PRESETS[preset][1]
    return scheme


def _compressor(preset: str) -> Any:
    from compressed_tensors.compressors import BaseCompressor

    return BaseCompressor.get_value_from_registry(PRESETS[preset][1])


@pytest.mark.parametrize("preset", PRESETS)
def test_the_package_reads_exactly_what_was_meant(preset: str) -> None:
    made = _made(PRESETS[preset][0], fc=_weight())
    read = _compressor(preset).decompress(_parts(made), _scheme(preset))["weight"]
    assert torch.equal(read.float(), made.weights["fc"])


@pytest.mark.parametrize("preset", PRESETS)
def test_bytes_are_those_that_the_package_makes_with_the_same_scales(preset: str) -> None:
    weight = _weight()
    parts = _parts(_made(PRESETS[preset][0], fc=weight))
    scales = parts["weight_scale"]
    if scales.dtype == torch.uint8:
        scales = torch.exp2(scales.float() - 127)
    given = {**parts, "weight": weight, "weight_scale": scales.float()}
    given.pop("weight_packed", None)
    theirs = _compressor(preset).compress(given, _scheme(preset))
    assert theirs.keys() == parts.keys()
    for name, tensor in theirs.items():
        assert parts[name].dtype == tensor.dtype, name
        assert torch.equal(parts[name].view(torch.uint8), tensor.contiguous().view(torch.uint8)), name


@pytest.mark.parametrize("preset", PRESETS)
def test_the_config_is_the_packages_preset(preset: str) -> None:
    from compressed_tensors.quantization import QuantizationConfig

    settings, layout = PRESETS[preset]
    context = checkpoint_context(
        settings,
        {"model.layers.0.mlp.up_proj": (settings.bits, -1)},
        group_size=-1,
        kept=("model.layers.0.mlp.down_proj",),
        outside=("lm_head",),
    )
    config = named_format(settings).quantization_config(context)
    assert config.pop(DEQUANTIZE, False) == (settings.bits == 4)
    theirs = QuantizationConfig(
        config_groups={"group_0": _scheme(preset)},
        format=layout,
        quantization_status="compressed",
        ignore=["model.layers.0.mlp.down_proj", "lm_head"],
    )
    wanted = {**theirs.model_dump(mode="json"), "version": LIBRARY}
    assert config == wanted
    again = QuantizationConfig.model_validate(json.loads(json.dumps(config)))
    assert {**again.model_dump(mode="json"), "version": LIBRARY} == wanted


@pytest.mark.parametrize("preset", PRESETS)
def test_a_checkpoint_is_recognised_as_the_layout_that_wrote_it(preset: str) -> None:
    settings, _ = PRESETS[preset]
    chosen = named_format(settings)
    config = chosen.quantization_config(
        checkpoint_context(settings, {"model.layers.0.fc": (settings.bits, -1)}, group_size=-1)
    )
    assert format_of_config(config) is chosen
    eight = settings.bits == 8
    assert chosen.modes(config) == (("", DEQUANTIZE) if eight else ("",))
    assert chosen.rounds_less(DEQUANTIZE, config) == eight
    assert not chosen.rounds_less("", config)
    assert chosen.precision("float32", config) == (Precision.ROUNDED_INPUTS if eight else Precision.FLOAT32)


def _plain(weight: Tensor, preset: str) -> Tensor:
    """What the package makes of a weight by the largest size of each group alone."""
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    scheme = _scheme(preset)
    whole = None
    if preset == "FP8_DYNAMIC":
        groups = weight.unsqueeze(1)
    elif preset == "FP8_BLOCK":
        padded = nn.functional.pad(weight, (0, -weight.shape[1] % 128, 0, -len(weight) % 128))
        blocks = padded.unflatten(1, (-1, 128)).unflatten(0, (-1, 128)).transpose(1, 2)
        groups = blocks.flatten(2)
    else:
        groups = weight.unflatten(1, (-1, scheme.weights.group_size))
    if preset == "NVFP4A16":
        whole = generate_gparam(weight.min(), weight.max())
    scales, _ = calculate_qparams(groups.amin(-1), groups.amax(-1), scheme.weights, whole)
    given = {"weight": weight, "weight_scale": scales}
    if whole is not None:
        given["weight_global_scale"] = whole
    packed = _compressor(preset).compress(given, scheme)
    read: Tensor = _compressor(preset).decompress(packed, scheme)["weight"].float()
    return read


@pytest.mark.parametrize(
    ("preset", "left"), [("FP8_DYNAMIC", 0.95), ("FP8_BLOCK", 0.99), ("NVFP4A16", 0.8), ("MXFP4A16", 0.99)]
)
def test_the_search_leaves_less_error_than_the_packages_own_scales(preset: str, left: float) -> None:
    weight = torch.randn(256, 512, generator=torch.Generator().manual_seed(5)) * 0.02
    found = _made(PRESETS[preset][0], fc=weight).weights["fc"]
    mine = float((found - weight).square().sum())
    assert mine < left * float((_plain(weight, preset) - weight).square().sum())


def test_every_nvfp4_layer_of_a_block_has_the_same_global_scale_a_power_of_two() -> None:
    settings = PRESETS["NVFP4A16"][0]
    made = _made(settings, q_proj=_weight(), k_proj=_weight(64) / 100, up_proj=_weight(seed=2) * 3)
    wholes = {float(_parts(made, name)["weight_global_scale"]) for name in ("q_proj", "k_proj", "up_proj")}
    (whole,) = wholes
    assert float(torch.tensor(whole).frexp().mantissa) == 0.5
    largest = max(_parts(made, name)["weight_scale"].float().max() for name in ("q_proj", "up_proj"))
    assert 112 < largest <= 448
    for weight in made.weights.values():
        assert torch.equal(weight.to(torch.bfloat16).float(), weight)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-6, 6e4])
def test_zeros_tiny_and_huge_weights_stay_finite_and_their_neighbours_too(preset: str, size: float) -> None:
    weight = torch.randn(128, 128, generator=torch.Generator().manual_seed(1))
    weight[3] *= size
    found = _made(PRESETS[preset][0], fc=weight).weights["fc"]
    assert bool(torch.isfinite(found).all())
    if size == 0:
        assert not found[3].any()
    weight *= 0
    found = _made(PRESETS[preset][0], fc=weight).weights["fc"]
    assert not found.any()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(preset: str, value: float) -> None:
    weight = _weight()
    weight[5, 7] = value
    with pytest.raises(EngineError, match="fc has weights that are not finite"):
        _made(PRESETS[preset][0], fc=weight)


def test_e2m1_rounds_half_to_even_and_saturates() -> None:
    given = torch.tensor([0.2, 0.25, 0.3, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 5.1, 9.0])
    wanted = torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 6.0, 6.0])
    assert torch.equal(nearest_e2m1(given), wanted)
    assert torch.equal(nearest_e2m1(-given), -wanted)
    every = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    assert e2m1_codes(torch.cat([every, -every])).tolist() == list(range(16))


@pytest.mark.parametrize("group", [None, 128])
def test_inputs_are_rounded_as_the_package_simulates_it(group: int | None) -> None:
    from compressed_tensors.quantization.lifecycle.forward import forward_quantize

    args = _scheme("FP8_DYNAMIC" if group is None else "FP8_BLOCK").input_activations
    inputs = torch.randn(2, 9, 256, generator=torch.Generator().manual_seed(3))
    inputs[0, 4] *= 300
    inputs[1, 2] = 0
    module: Any = nn.Linear(256, 8)
    from compressed_tensors.quantization import QuantizationStatus

    module.quantization_status = QuantizationStatus.FROZEN
    theirs = forward_quantize(module, inputs, "input", args)
    assert torch.equal(rounded(inputs, InputRounding(group=group)), theirs)


def test_a_layers_inputs_are_rounded_until_the_handle_is_removed() -> None:
    layer = nn.Linear(16, 4)
    inputs = torch.randn(1, 3, 16)
    plain = layer(inputs)
    handle = round_inputs_of(layer, InputRounding(group=None))
    assert torch.equal(layer(inputs), nn.Linear.forward(layer, rounded(inputs, InputRounding(group=None))))
    assert not torch.equal(layer(inputs), plain)
    handle.remove()
    assert torch.equal(layer(inputs), plain)


@pytest.mark.parametrize(
    ("preset", "inputs", "reason"),
    [
        ("FP8_BLOCK", 576, "128 inputs share a scale as they are rounded; scales: channel takes every size"),
        ("NVFP4A16", 40, "16 weights share a scale"),
        ("MXFP4A16", 48, "32 weights share a scale"),
    ],
)
def test_inputs_that_are_no_whole_groups_are_a_misfit(preset: str, inputs: int, reason: str) -> None:
    chosen = named_format(PRESETS[preset][0])
    misfit = chosen.misfit(inputs, 64, PRESETS[preset][0].bits)
    assert misfit is not None
    assert (misfit.side, misfit.size, misfit.reason) == ("input", inputs, reason)
    assert chosen.misfit(384, 65, PRESETS[preset][0].bits) is None
    assert named_format(PRESETS["FP8_DYNAMIC"][0]).misfit(inputs, 65, 8) is None


@pytest.mark.parametrize(
    ("preset", "reason"),
    [
        ("FP8_DYNAMIC", None),
        ("MXFP4A16", None),
        ("FP8_BLOCK", "scales of whole outputs only"),
        ("NVFP4A16", "without the scale of their scales"),
    ],
)
def test_a_mixture_is_held_where_transformers_reads_its_experts_right(
    preset: str, reason: str | None
) -> None:
    settings = PRESETS[preset][0]
    if reason is None:
        assert resolve_format(settings, MIXTURE) is named_format(settings)
        return
    with pytest.raises(SourceError, match=reason):
        resolve_format(settings, MIXTURE)
    partial = settings_of(settings.method, settings.bits, {**settings.own, "allow_partial": True})
    chosen = resolve_format(partial, MIXTURE)
    expert = LayerInfo(
        name="model.layers.0.mlp.experts.0.up_proj",
        in_features=256,
        out_features=128,
        tensor="model.layers.0.mlp.experts.0.up_proj.weight",
    )
    assert chosen.leaves(MIXTURE, expert, settings.bits) is not None


def test_models_that_are_loaded_dequantized_have_no_inputs_rounded() -> None:
    chosen = named_format(PRESETS["FP8_DYNAMIC"][0])
    assert chosen.rounds_inputs("llama") == InputRounding(group=None)
    assert named_format(PRESETS["FP8_BLOCK"][0]).rounds_inputs("llama") == InputRounding(group=128)
    assert chosen.rounds_inputs("falcon") is None
    assert chosen.precision("float32", {DEQUANTIZE: True}) is Precision.FLOAT32


@pytest.mark.parametrize("preset", PRESETS)
def test_the_size_on_disk_is_told_exactly(preset: str) -> None:
    settings = PRESETS[preset][0]
    parts = _parts(_made(settings, fc=_weight(200, 256)))
    count, tensors = named_format(settings).layer_bytes(
        256, 200, bits=settings.bits, groups=1, settings=settings
    )
    assert (count, tensors) == (sum(value.nbytes for value in parts.values()), len(parts))


def test_one_format_has_all_layouts() -> None:
    entry = get_format("compressed-tensors")
    found: list[Format] = [entry.of(settings) for settings, _ in PRESETS.values()]
    assert len({id(layout) for layout in (entry, *found)}) == 5
    assert {layout.name for layout in found} == {entry.name}
    assert entry.of(settings_of("gptq", 4, {})) is entry
    assert resolve_format(settings_of("gptq", 4, {"format": entry.name}), DENSE) is entry
