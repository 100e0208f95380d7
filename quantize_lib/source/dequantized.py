"""Quantized bases that can be dequantized as they are read: what their headers stand for in full precision.

FP8 stores 8-bit floats with a scale for a block, a row or the whole matrix (DeepSeek's and Qwen's
`weight_scale_inv`; `weight_scale` of compressed-tensors, FBGEMM and ModelOpt); MXFP4 two 4-bit floats a byte
with an exponent for 32 of them (gpt-oss: `…_blocks`, `…_scales`). In all of them a value is code times scale.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import ceil, prod
from typing import Any

from quantize_lib.architecture.config_values import QUANTIZATION_KEYS
from quantize_lib.architecture.tensors import Stored, TensorInfo, Weights
from quantize_lib.source.model_files import stated_dtype
from quantize_lib.wording import joined

_FP8 = ("F8_E4M3", "F8_E5M2")
_SCALE_DTYPES = ("F32", "F16", "BF16", "F8_E8M0", "U8")
_SCALE_OF = ("{name}_scale_inv", "{name}_scale", "{stem}.scale", "{stem}.qscale_weight")
"""Names of the scales by the tensor's own, the last two of a weight's module; transformers knows the same."""
_ACTIVATIONS = re.compile(r"(^|[._])(input|activation|output|[kvq])_scale(_ub|_inv)?$|\.qscale_act$")
"""Scales of inputs, outputs and the cache of keys and values, which have no part in the weights."""
_BLOCK = (128, 128)
"""What a block is where config.json says nothing, as in transformers."""
_MXFP4_BYTES = 16
"""Of a block of 32 values."""
_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def dequantized_weights(config: Mapping[str, Any], weights: Weights) -> Weights:
    """The tensors of a quantized base in full precision, with a note on what they are made from.

    Args:
        config: `config.json`.
        weights: what the files hold; the same is returned where none of it is FP8 or MXFP4.
    """
    tensors = dequantized(config, weights.tensors)
    forms = [info.stored.form for info in tensors.values() if info.stored is not None]
    if not forms:
        return weights
    note = (
        f"made from an {joined(dict.fromkeys(forms))} base: {len(forms)} of its tensors are dequantized to "
        f"{_DTYPES[_dtype(config)]} as they are read, and what rounding them lost stays lost"
    )
    return replace(weights, tensors=tensors, notes=(*weights.notes, note))


def dequantized(config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """Tensors by name, with one in full precision in the place of codes and scales.

    What is stored in another way is left as it is.
    """
    block, dtype = _block_size(config), _dtype(config)
    made: dict[str, TensorInfo] = {}
    for info in tensors.values():
        if (stored := _fp8(info, tensors, block)) is not None:
            made[info.name] = replace(info, dtype=dtype, stored=stored)
        elif (stored := _mxfp4(info, tensors)) is not None:
            name = info.name.removesuffix("_blocks")
            if name not in tensors:
                experts, rows, blocks, _ = info.shape
                # transformers gives them as its experts are laid out: the input comes before the output.
                shape = (experts, blocks * 2 * _MXFP4_BYTES, rows)
                made[info.name] = replace(info, name=name, dtype=dtype, shape=shape, stored=stored)
    if not made:
        return dict(tensors)
    used = {info.stored.scales.name for info in made.values() if info.stored is not None}
    # Of a cache of keys and values they stand one module further out than the weights.
    modules = {info.name.rpartition(".")[0] for info in made.values()}
    modules |= {module.rpartition(".")[0] for module in modules}
    return {
        info.name: info
        for name, held in tensors.items()
        if name not in used and not (_ACTIVATIONS.search(name) and name.rpartition(".")[0] in modules)
        for info in (made.get(name, held),)
    }


def _fp8(info: TensorInfo, tensors: Mapping[str, TensorInfo], block: tuple[int, int]) -> Stored | None:
    if info.dtype not in _FP8 or len(info.shape) < 2 or not prod(info.shape):
        return None
    for name in _scale_names(info.name):
        scales = tensors.get(name)
        if scales is None or scales.dtype not in _SCALE_DTYPES:
            continue
        grid = _grid(info.shape, scales.shape)
        if grid is None:
            continue
        rows = _shared(info.shape[-2], grid[-2], block[0])
        columns = _shared(info.shape[-1], grid[-1], block[1])
        if rows and columns:
            return Stored(form="FP8", codes=info, scales=scales, grid=grid, block=(rows, columns))
    return None


def _scale_names(name: str) -> Iterator[str]:
    stem = name.removesuffix(".weight")
    for pattern in _SCALE_OF:
        if "{name}" in pattern or stem != name:
            yield pattern.format(name=name, stem=stem)


def _grid(shape: tuple[int, ...], scales: tuple[int, ...]) -> tuple[int, ...] | None:
    """The scales' shape with as many dimensions as the codes; None where it does not fit them."""
    if prod(scales) == 1:
        return (1,) * len(shape)
    if scales == shape[:1]:
        # One for each row, or for each matrix of several.
        scales = (*scales, 1) if len(shape) == 2 else (*scales, *(1,) * (len(shape) - 1))
    if len(scales) != len(shape) or scales[:-2] != shape[:-2]:
        return None
    return scales


def _shared(size: int, scales: int, block: int) -> int:
    """How many values in a line share a scale; 0 where that cannot be told."""
    if scales == 1:
        return size
    if ceil(size / block) == scales:
        return block
    return size // scales if scales and size % scales == 0 else 0


def _mxfp4(info: TensorInfo, tensors: Mapping[str, TensorInfo]) -> Stored | None:
    stem = info.name.removesuffix("_blocks")
    scales = tensors.get(f"{stem}_scales")
    if stem == info.name or scales is None or (info.dtype, scales.dtype) != ("U8", "U8"):
        return None
    if len(info.shape) != 4 or info.shape[-1] != _MXFP4_BYTES or info.shape[:-1] != scales.shape:
        return None
    return Stored(form="MXFP4", codes=info, scales=scales, grid=scales.shape, block=(1, 2 * _MXFP4_BYTES))


def _dtype(config: Mapping[str, Any]) -> str:
    return stated_dtype(config) or "BF16"


def _block_size(config: Mapping[str, Any]) -> tuple[int, int]:
    """What config.json says of the blocks, where it says something sensible."""
    for key in QUANTIZATION_KEYS:
        for size in _stated_blocks(config.get(key)):
            if isinstance(size, list) and len(size) == 2 and all(type(n) is int and n > 0 for n in size):
                return size[0], size[1]
    return _BLOCK


def _stated_blocks(said: object) -> Iterator[object]:
    """In the words of transformers, then in those of compressed-tensors."""
    if not isinstance(said, Mapping):
        return
    yield said.get("weight_block_size")
    groups = said.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if isinstance(weights, Mapping):
            yield weights.get("block_structure")
