"""Whether a model's weights are quantized already, judged by its tensors: what files say may be left over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantize_lib.architecture.config_values import QUANTIZATION_KEYS
from quantize_lib.architecture.families import named
from quantize_lib.architecture.placing import WEIGHT_DTYPES
from quantize_lib.architecture.tensors import TensorInfo
from quantize_lib.errors import SourceError
from quantize_lib.source.dequantized import dequantized
from quantize_lib.source.pickled import is_pickled
from quantize_lib.wording import show

_INSTEAD: Mapping[str, str] = {
    ".qweight": "GPTQ or AWQ",
    ".B": "Marlin",
    ".W_q": "HQQ",
    ".weight_packed": "compressed-tensors",
    ".weight._data": "Quanto",
    "._weight_qdata": "torchao",
    ".codebooks": "AQLM",
    ".q_weight": "EXL2",
    ".trellis": "EXL3",
    ".Qidxs": "QuIP#",
    ".centroids.weight": "VPTQ",
    "_blocks": "MXFP4",
}
"""Endings of tensors that stand in the place of a weight → how that is quantized."""
_PARTNERS: Mapping[str, str] = {"_blocks": "_scales", ".B": ".s"}
"""Endings that alone say too little → that of the tensor which has to be there too."""
_BESIDE: Mapping[str, str] = {
    ".biases": "MLX",
    ".scales": "MLX",
    ".weight.absmax": "bitsandbytes, 4 bits",
    ".weight.quant_map": "bitsandbytes, 4 bits",
    ".SCB": "bitsandbytes, 8 bits",
    ".weight.SCB": "bitsandbytes, 8 bits",
    ".weight_scales": "EETQ",
    ".weight_scale_inv": "",
    ".weight_scale": "",
    ".scale": "",
}
"""The same of tensors beside a weight that is not in full precision; "" where its dtype says it."""
_BY_DTYPE: Mapping[str, str] = {
    "F8_E4M3": "FP8",
    "F8_E5M2": "FP8",
    "I8": "int8",
    "U8": "FP4 or a packed form",
}

_Tensors = Mapping[str, TensorInfo]


def check_full(model_id: str, config: Mapping[str, Any], tensors: _Tensors) -> tuple[str, ...]:
    """Refuse quantized weights, whether config.json owns up to them or not.

    Args:
        config: `config.json` of a supported model.
        tensors: what the safetensors headers say, by the name on disk.

    Returns:
        What is to be told of a model that is quantized in name only.

    Raises:
        SourceError: where a matrix is quantized, saying how.
    """
    said = {key: config[key] for key in QUANTIZATION_KEYS if config.get(key)}
    found = first_quantized(tensors)
    if found is None and not (said and not _shows_full(tensors)):
        # A quantized base that is dequantized has a note of its own.
        return () if any(info.stored for info in tensors.values()) else _said_only(said)
    how = next((name for value in said.values() if (name := _method(value))), found and found[1])
    raise SourceError(
        f"{model_id}: {named(config)} is already quantized"
        + (f" ({how})" if how else "")
        + (f": {found[0].file} holds {found[0].name}, {found[0].dtype}" if found else ""),
        hint="Name the full-precision model that it was made from" + _or_allow(config, tensors),
    )


def _or_allow(config: Mapping[str, Any], tensors: _Tensors) -> str:
    """The rest of the hint: the manifest's key where it would help."""
    stood_for = dequantized(config, tensors)
    if stood_for == tensors or first_quantized(stood_for) is not None:
        return "."
    return (
        ", or say allow_quantized_base: true of this model to have its weights dequantized as they are read."
    )


def _shows_full(tensors: _Tensors) -> bool:
    """Whether every matrix is seen to be in full precision.

    Of pickled weights nothing is known but what config.json says; and there are forms that no list names.
    """
    matrices = [info for info in tensors.values() if len(info.shape) > 1 and info.dtype != "BOOL"]
    return all(_is_full(info) and not is_pickled(info.file) for info in matrices)


def first_quantized(tensors: _Tensors) -> tuple[TensorInfo, str] | None:
    """The first tensor of a quantized weight, and how that is quantized; None where there is none."""
    for name, info in tensors.items():
        for ending, how in _INSTEAD.items():
            stem = name.removesuffix(ending)
            if stem == name or f"{stem}{_PARTNERS.get(ending, ending)}" not in tensors:
                continue
            if not _is_full(tensors.get(f"{stem}.weight")):
                return info, _packing(name, tensors) if ending == ".qweight" else how
        for ending, how in _BESIDE.items():
            weight = tensors.get(f"{name.removesuffix(ending)}.weight") if name.endswith(ending) else None
            if weight is not None and not _is_full(weight):
                return weight, how or _by_dtype(weight, tensors)
    return None


def _by_dtype(weight: TensorInfo, tensors: _Tensors) -> str:
    """NVFP4 has two values in a byte, and scales of its scales."""
    if weight.dtype == "U8" and f"{weight.name}_scale_2" in tensors:
        return "NVFP4"
    return _BY_DTYPE.get(weight.dtype, weight.dtype)


def _packing(name: str, tensors: _Tensors) -> str:
    """GPTQ packs the values of an int32 along the input, AWQ along the output."""
    packed, scales = tensors[name], tensors.get(name.removesuffix("qweight") + "scales")
    if scales is None or len(packed.shape) != 2 or len(scales.shape) != 2:
        return _INSTEAD[".qweight"]
    return "GPTQ" if packed.shape[1] == scales.shape[1] else "AWQ"


def _is_full(weight: TensorInfo | None) -> bool:
    return weight is not None and weight.dtype in WEIGHT_DTYPES


def _method(value: object) -> str | None:
    if not isinstance(value, Mapping):
        return None
    method = value.get("quant_method")
    return show(method).strip("`") if isinstance(method, str) and method else None


def _said_only(said: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(
        f"config.json says under {key} that the model is quantized"
        + (f" ({how})" if (how := _method(value)) else "")
        + ", but its weights are in full precision; they are taken as such"
        for key, value in said.items()
    )
