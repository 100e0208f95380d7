"""compressed-tensors checkpoints of small random models, loaded by plain transformers and compared with what
was meant: nothing rounds on the way, so that the logits are the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from quantize_lib.files import read_json
from quantize_lib.formats import get_format
from quantize_lib.formats.compressed_base import DEQUANTIZE, LIBRARY
from quantize_lib.methods import GroupSize, Override, Settings
from quantize_lib.packing.integers import pack_stream, unpack_stream
from tests.support.quantizing import (
    assert_weights_are_those_meant,
    difference,
    load_checked,
    quantized_family,
)
from tests.support.rounding import checkpoint_context

EXACT = 1e-5
"""Largest difference of a logit, relative to the largest logit: float32 sums in another order."""
FAMILIES = {
    "llama": ("self_attn", "mlp.down_proj"),
    "qwen2": ("self_attn", "mlp.down_proj"),
    "phi3": ("self_attn", "mlp.down_proj"),
    "gpt_neox": ("attention", "mlp.dense_4h_to_h"),
    "opt": ("self_attn", "fc2"),
}
"""model_type → what a block calls its attention and its last linear layer."""
FORMAT = get_format("compressed-tensors")


def _settings(
    method: str,
    bits: int,
    group_size: GroupSize = 32,
    *,
    overrides: tuple[Override, ...] = (),
    kept: tuple[str, ...] = (),
) -> Settings:
    return Settings(
        method=method,
        bits=bits,
        format=FORMAT.name,
        group_size=group_size,
        overrides=overrides,
        modules_to_not_convert=kept,
    )


def _modes(folder: Path) -> tuple[str, ...]:
    return FORMAT.modes(read_json(folder / "config.json")["quantization_config"])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_plain_transformers_loads_every_family_and_says_what_was_meant(
    family: str, method: str, tmp_path: Path
) -> None:
    _, _, expected = quantized_family(tmp_path, _settings(method, 4), family)
    assert _modes(tmp_path / "cell") == ("", DEQUANTIZE)
    for mode in _modes(tmp_path / "cell"):
        assert difference(load_checked(tmp_path / "cell", mode), expected) < EXACT, mode


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("method", "bits"), [("gptq", 4), ("awq", 3)])
def test_layers_of_other_bits_and_group_sizes_and_kept_ones_load(
    family: str, method: str, bits: int, tmp_path: Path
) -> None:
    attention, last = FAMILIES[family]
    overrides = (
        Override(modules=f"*.1.{last}", group_size=-1),
        Override(modules=f"*.0.{attention}.*", bits=8),
    )
    settings = _settings(method, bits, overrides=overrides, kept=(f"*.0.{last}",))
    recording, blocks, expected = quantized_family(tmp_path, settings, family)
    assert set(recording.outputs[1].layers) - set(recording.outputs[0].layers) == {last}
    quantization = read_json(tmp_path / "cell" / "config.json")["quantization_config"]
    assert len(quantization["config_groups"]) == 3
    assert quantization["ignore"][0] == f"{blocks}.0.{last}"
    assert _modes(tmp_path / "cell") == ("",)
    loaded = load_checked(tmp_path / "cell")
    assert difference(loaded, expected) < EXACT
    kept = f"{blocks}.0.{last}.weight"
    assert torch.equal(loaded.get_parameter(kept), expected.get_parameter(kept))


@pytest.mark.parametrize("method", ["gptq", "awq"])
@pytest.mark.parametrize(
    ("bits", "group_size"), [(2, 16), (2, -1), (3, 32), (3, -1), (4, 128), (4, -1), (8, 64), (8, -1)]
)
def test_every_width_and_group_size_loads(
    method: str, bits: int, group_size: GroupSize, tmp_path: Path
) -> None:
    _, _, expected = quantized_family(tmp_path, _settings(method, bits, group_size))
    for mode in _modes(tmp_path / "cell"):
        assert difference(load_checked(tmp_path / "cell", mode), expected) < EXACT, mode


def test_a_layer_kept_in_one_block_alone_stays_as_it_was_in_both_ways_of_loading(tmp_path: Path) -> None:
    kept = "model.layers.1.mlp.down_proj"
    _, _, expected = quantized_family(tmp_path, _settings("gptq", 3, kept=(kept,)))
    assert _modes(tmp_path / "cell") == ("", DEQUANTIZE)
    for mode in _modes(tmp_path / "cell"):
        loaded = load_checked(tmp_path / "cell", mode)
        assert difference(loaded, expected) < EXACT, mode
        assert torch.equal(loaded.get_parameter(f"{kept}.weight"), expected.get_parameter(f"{kept}.weight"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bits", [4, 8])
def test_in_16_bits_every_weight_is_the_one_that_was_meant_rounded_once(
    bits: int, dtype: torch.dtype, tmp_path: Path
) -> None:
    recording, blocks, _ = quantized_family(tmp_path, _settings("gptq", bits))
    for mode in _modes(tmp_path / "cell"):
        assert_weights_are_those_meant(tmp_path / "cell", mode, dtype, recording, blocks)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_one_other_code_would_be_noticed(bits: int, tmp_path: Path) -> None:
    _, _, expected = quantized_family(tmp_path, _settings("gptq", bits))
    state = load_file(tmp_path / "cell" / "model.safetensors")
    state["model.layers.1.mlp.up_proj.weight_packed"][0, 0] ^= 1
    save_file(state, tmp_path / "cell" / "model.safetensors", metadata={"format": "pt"})
    for mode in _modes(tmp_path / "cell"):
        assert difference(load_checked(tmp_path / "cell", mode), expected) > EXACT, mode


def test_the_way_of_loading_that_is_left_out_for_mixed_layers_fails(tmp_path: Path) -> None:
    """Where transformers learns to, `modes` can offer it and the card need not warn."""
    quantized_family(tmp_path, _settings("gptq", 4, overrides=(Override(modules="*.self_attn.*", bits=8),)))
    with pytest.raises(RuntimeError):
        load_checked(tmp_path / "cell", DEQUANTIZE)


@pytest.mark.parametrize("columns", [1, 5, 8, 10, 16, 31, 32, 33, 40, 77, 96, 100, 576])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_packing_equals_the_librarys_byte_for_byte(bits: int, columns: int) -> None:
    from compressed_tensors.compressors import pack_to_int32, unpack_from_int32

    generator = torch.Generator().manual_seed(bits)
    for rows in (1, 3, 64):
        codes = torch.randint(0, 2**bits, (rows, columns), generator=generator, dtype=torch.uint8)
        signed = (codes.to(torch.int16) - 2 ** (bits - 1)).to(torch.int8)
        # Also of codes that lie in memory column by column.
        for given in (codes, codes.T.contiguous().T):
            packed, theirs = pack_stream(given, bits), pack_to_int32(signed, bits)
            assert packed.dtype == theirs.dtype
            assert torch.equal(packed, theirs)
            assert torch.equal(unpack_stream(packed, bits, columns), codes)
            assert torch.equal(unpack_from_int32(packed, bits, torch.Size(codes.shape)), signed)


def _by_library(
    layers: dict[str, tuple[int, int]], order: list[tuple[int, int]], ignore: list[str]
) -> dict[str, Any]:
    """What compressed_tensors' own classes dump, one group for each scheme."""
    import compressed_tensors
    from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme

    groups = {}
    for index, (bits, size) in enumerate(order):
        grouped: dict[str, Any] = {"strategy": "group", "group_size": size}
        arguments = QuantizationArgs(
            num_bits=bits,
            type="int",
            symmetric=True,
            dynamic=False,
            **(grouped if size > 0 else {"strategy": "channel"}),
        )
        names = [name for name, scheme in layers.items() if scheme == (bits, size)]
        groups[f"group_{index}"] = QuantizationScheme(
            targets=["Linear"] if len(order) == 1 else names, weights=arguments, format="pack-quantized"
        )
    config = QuantizationConfig(
        config_groups=groups, format="pack-quantized", quantization_status="compressed", ignore=ignore
    )
    return {**config.model_dump(mode="json"), "version": compressed_tensors.__version__}


@pytest.mark.parametrize(
    ("schemes", "order"),
    [
        ([(4, 128), (4, 128)], [(4, 128)]),
        ([(2, -1)], [(2, -1)]),
        (
            [(4, 128), (8, 32), (3, -1), (4, -1), (4, 32), (8, 32)],
            [(8, 32), (4, 32), (4, 128), (4, -1), (3, -1)],
        ),
    ],
    ids=["one scheme", "one group for each output", "several schemes"],
)
def test_the_config_equals_what_the_library_dumps(
    schemes: list[tuple[int, int]], order: list[tuple[int, int]]
) -> None:
    """`order` is most bits first, groups before whole rows: see `quantization_config`."""
    from compressed_tensors.quantization import QuantizationConfig

    layers = {f"model.layers.{index}.mlp.up_proj": scheme for index, scheme in enumerate(schemes)}
    kept = ("model.layers.0.mlp.down_proj",)
    bits, size = schemes[0]
    context = checkpoint_context(
        _settings("gptq", bits, size), layers, group_size=size, kept=kept, outside=("lm_head",)
    )
    config = FORMAT.quantization_config(context)
    assert config["version"] == LIBRARY
    # The order of the keys too.
    assert json.dumps(config) == json.dumps(_by_library(layers, order, [*kept, "lm_head"]))
    again = QuantizationConfig.model_validate(json.loads(json.dumps(config))).model_dump(mode="json")
    assert {**again, "version": LIBRARY} == config
