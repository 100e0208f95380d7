"""A base in FP8 or MXFP4 is seen as what it stands for: names, shapes and values in full precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from quantize_lib.architecture.tensors import TensorInfo, Weights
from quantize_lib.engine.dequantized import dequantize
from quantize_lib.errors import SourceError
from quantize_lib.source import inspect
from quantize_lib.source.dequantized import dequantized, dequantized_weights
from quantize_lib.source.model_spec import ModelSpec
from tests.support.model_files import LLAMA, header_of, llama_shapes, shard_bytes, write_model

STEM = "model.layers.0.self_attn.q_proj"
FILE = "model.safetensors"


def held(parts: dict[str, tuple[str, tuple[int, ...]]]) -> dict[str, TensorInfo]:
    return {
        name: TensorInfo(name=name, dtype=dtype, shape=shape, file=FILE)
        for name, (dtype, shape) in parts.items()
    }


def fp8(
    shape: tuple[int, ...], scales: tuple[int, ...], ending: str = "weight_scale_inv", dtype: str = "F32"
) -> dict[str, TensorInfo]:
    return held({f"{STEM}.weight": ("F8_E4M3", shape), f"{STEM}.{ending}": (dtype, scales)})


@pytest.mark.parametrize(
    ("scales", "ending", "block"),
    [
        ((5, 2), "weight_scale_inv", (128, 128)),
        ((5, 2), "scale", (128, 128)),
        ((5, 2), "qscale_weight", (128, 128)),
        ((9, 4), "weight_scale", (64, 64)),
        ((576, 1), "weight_scale", (1, 256)),
        ((576,), "weight_scale", (1, 256)),
        ((576, 8), "weight_scale_inv", (1, 32)),
        ((1,), "weight_scale", (576, 256)),
        ((), "weight_scale_inv", (576, 256)),
    ],
)
def test_fp8_weights_are_seen_in_full_precision_whatever_shares_a_scale(
    scales: tuple[int, ...], ending: str, block: tuple[int, int]
) -> None:
    (seen,) = dequantized({}, fp8((576, 256), scales, ending)).values()
    assert (seen.name, seen.dtype, seen.shape) == (f"{STEM}.weight", "BF16", (576, 256))
    assert seen.stored is not None
    assert (seen.stored.form, seen.stored.block) == ("FP8", block)


def test_blocks_are_as_large_as_the_config_says() -> None:
    config = {"quantization_config": {"weight_block_size": [96, 32]}, "text_config": {"dtype": "float16"}}
    (seen,) = dequantized(config, fp8((100, 64), (2, 2))).values()
    assert seen.stored is not None
    assert (seen.dtype, seen.stored.block) == ("F16", (96, 32))


def test_blocks_are_as_large_as_compressed_tensors_says() -> None:
    group = {"weights": {"strategy": "block", "block_structure": [96, 32]}}
    config = {"quantization_config": {"config_groups": {"group_0": group}}}
    (seen,) = dequantized(config, fp8((100, 64), (2, 2), "weight_scale")).values()
    assert seen.stored is not None
    assert seen.stored.block == (96, 32)


def test_experts_in_one_tensor_have_scales_of_their_own() -> None:
    parts = held({"experts.up": ("F8_E4M3", (4, 64, 96)), "experts.up_scale": ("F32", (4, 1, 96))})
    (seen,) = dequantized({}, parts).values()
    assert seen.stored is not None
    codes, scales = torch.ones(4, 64, 96).to(torch.float8_e4m3fn), torch.rand(4, 1, 96)
    made = dequantize(seen.stored, codes, scales, torch.float32)
    assert torch.equal(made, scales.expand(4, 64, 96))


@pytest.mark.parametrize(
    "parts",
    [
        fp8((576, 256), (7, 2)),
        fp8((576, 256), (5,)),
        fp8((576, 256), (5, 2), dtype="I32"),
        fp8((576, 256), (2, 576, 1)),
        held({f"{STEM}.weight": ("F8_E4M3", (576, 256))}),
        held({f"{STEM}.weight": ("U8", (576, 128)), f"{STEM}.weight_scale": ("F8_E4M3", (576, 16))}),
        held({"x_blocks": ("U8", (4, 64, 2, 8)), "x_scales": ("U8", (4, 64, 2))}),
        held({"x_blocks": ("U8", (4, 64, 2, 16)), "x_scales": ("U8", (4, 64, 3))}),
    ],
)
def test_what_cannot_be_told_from_its_shapes_is_left_as_it_is(parts: dict[str, TensorInfo]) -> None:
    assert dequantized({}, parts) == parts


def test_mxfp4_experts_are_seen_as_their_class_lays_them_out() -> None:
    parts = held(
        {"x_blocks": ("U8", (4, 192, 2, 16)), "x_scales": ("U8", (4, 192, 2)), "x_bias": ("BF16", (4,))}
    )
    seen = dequantized({}, parts)
    assert {name: info.shape for name, info in seen.items()} == {"x": (4, 64, 192), "x_bias": (4,)}


def test_scales_of_inputs_and_of_the_cache_go_with_the_weights_that_they_stand_by() -> None:
    attention = STEM.rpartition(".")[0]
    parts = fp8((8, 8), (), "weight_scale") | held(
        {
            f"{STEM}.input_scale": ("F32", ()),
            f"{attention}.k_scale": ("F32", (1,)),
            "vision.input_scale": ("F32", ()),
        }
    )
    assert list(dequantized({}, parts)) == [f"{STEM}.weight", "vision.input_scale"]


def test_the_note_names_the_form_and_how_much_of_it_there_is() -> None:
    weights = Weights(tensors=fp8((8, 8), ()), files=(FILE,))
    assert dequantized_weights({}, weights).notes == (
        "made from an FP8 base: 1 of its tensors are dequantized to bfloat16 as they are read, and what "
        "rounding them lost stays lost",
    )
    full = Weights(tensors=held({"x": ("BF16", (2, 2))}), files=(FILE,))
    assert dequantized_weights({}, full) is full


@pytest.mark.parametrize("block", [(4, 4), (3, 5), (1, 10), (7, 10)])
def test_the_last_block_of_a_row_or_column_may_be_smaller(block: tuple[int, int]) -> None:
    rows, columns = 7, 10
    high, wide = -(-rows // block[0]), -(-columns // block[1])
    codes = torch.arange(-35, 35).float().view(rows, columns).to(torch.float8_e4m3fn)
    scales = torch.arange(1, high * wide + 1).float().view(high, wide) / 4
    config = {"quantization_config": {"weight_block_size": list(block)}}
    (seen,) = dequantized(config, fp8((rows, columns), (high, wide))).values()
    assert seen.stored is not None
    expected = torch.stack(
        [
            torch.stack([codes[i, j].float() * scales[i // block[0], j // block[1]] for j in range(columns)])
            for i in range(rows)
        ]
    )
    assert torch.equal(dequantize(seen.stored, codes, scales, torch.float32), expected)


def test_bytes_as_scales_are_exponents() -> None:
    (seen,) = dequantized({}, fp8((2, 64), (2, 2), dtype="U8")).values()
    assert seen.stored is not None
    scales = torch.tensor([[127, 128], [126, 130]], dtype=torch.uint8)
    made = dequantize(seen.stored, torch.ones(2, 64).to(torch.float8_e4m3fn), scales, torch.float32)
    assert made[:, ::32].tolist() == [[1.0, 2.0], [0.5, 8.0]]


def fp8_llama(folder: Path, config: dict[str, Any]) -> Path:
    """A Llama of which the matrices in the blocks are FP8 with a scale each."""
    write_model(folder, config)
    shapes = llama_shapes()
    header: dict[str, Any] = {}
    position = 0
    for name, shape in shapes.items():
        coded = len(shape) == 2 and "layers" in name
        parts = [(name, "F8_E4M3" if coded else "BF16", shape)]
        parts += [(f"{name}_scale", "F32", (shape[0], 1))] if coded else []
        for part, dtype, size in parts:
            entry = header_of({part: size}, dtype)[part]
            start, end = entry["data_offsets"]
            header[part] = {**entry, "data_offsets": [position + start, position + end]}
            position += end
    (folder / FILE).write_bytes(shard_bytes(header, position))
    return folder


def test_an_fp8_model_is_taken_where_its_entry_allows_it_and_refused_with_that_key_where_not(
    tmp_path: Path,
) -> None:
    config = LLAMA | {"quantization_config": {"quant_method": "compressed-tensors"}, "dtype": "bfloat16"}
    folder = fp8_llama(tmp_path / "mine", config)
    with pytest.raises(SourceError, match=r"is already quantized \(compressed-tensors\)") as caught:
        inspect(ModelSpec(id="./mine", name="mine", local=folder), token=None)
    assert "allow_quantized_base: true" in str(caught.value.hint)
    allowed = ModelSpec(id="./mine", name="mine", local=folder, allow_quantized_base=True)
    facts = inspect(allowed, token=None)
    assert {name: info.shape for name, info in facts.tensors.items()} == llama_shapes()
    assert {info.dtype for info in facts.tensors.values()} == {"BF16"}
    assert [note for note in facts.notes if "FP8" in note] == list(facts.notes)
    assert len(facts.layers) == 14
    plain = inspect(
        ModelSpec(id="./plain", name="plain", local=write_model(tmp_path / "plain", LLAMA)), token=None
    )
    assert facts.layers == plain.layers
