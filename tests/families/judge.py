"""Says whether a checkpoint is good, by transformers and by code that shares nothing with the engine.

Good means: the reloaded checkpoint computes what the base model computes with the dequantized weights; every
other tensor is the base model's; and those weights are nearer to the base than weights that were rounded to
nearest at the same bits and group size, judged by the logits of held-out text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from quantize_lib.files import read_json
from tests.families.base_model import Base, Logits, Wrong, distance, read_tensors
from tests.families.gguf_files import read_meant
from tests.families.nearest import bitsandbytes_rounding, float_rounding, round_to_nearest
from tests.support.unpacking import unpack_layer

_MARKS = {
    "gptq": (".qweight",),
    "awq": (".qweight",),
    "compressed-tensors": (".weight_packed", ".weight_scale"),
    "bitsandbytes": (".weight.quant_state.bitsandbytes__nf4", ".SCB"),
}
"""Which tensor marks a quantized layer, by the config's `quant_method`: the end of its name."""
_KERNEL_ERROR = {
    "compressed-tensors": 2e-3,
    "gptq": 2e-2,
    "awq": 2e-2,
    "bitsandbytes": 4e-2,
    "gguf": 2e-3,
}
"""How far a reloaded checkpoint's logits may be from those of the dequantized weights, for half of the
tokens, relative to the spread of the logits: the kernels of a CPU round to bfloat16. With bitsandbytes the
model computes in its own dtype as well."""
_KERNEL_SHARE = 0.1
"""The same by the error of the dequantized weights: some models make much of every rounding."""
_INT8_SHARE = 1.0
"""That where activations are rounded to 8 bits as well, which is as much again."""
_MOST = 5.0
"""How many times as far for nine of ten: a router may choose another expert."""
_NOTHING_IN_COMMON = 0.9
_OTHER_PARTS = re.compile(r"vision|visual|audio|image|(^|\.)vq")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Of a good checkpoint.

    Attributes:
        error: of its logits, relative to their spread.
        ratio: that by the error of rounding to nearest; None where the method does just that.
        share: how much of the blocks' matrices is quantized.
        layers: how many linear layers that are.
        format: the config's `quant_method`.
    """

    error: float
    ratio: float | None
    share: float
    layers: int
    format: str


def judge(base: Base, folder: Path, *, bits: int, reload: Callable[[Base, Path, str], Logits]) -> Verdict:
    """Judge a checkpoint.

    Args:
        reload: `base_model.loaded_logits`, in a process of its own: GPTQModel, which some checkpoints are
            loaded with, changes transformers.

    Raises:
        Wrong: where it is not good, with the reason.
    """
    quantization = read_json(folder / "config.json")["quantization_config"]
    kind = quantization["quant_method"]
    if kind == "gguf":
        return _judge_file(base, folder, quantization, reload)
    kept, parts = _read(folder, kind)
    layers = {layer: unpack_layer(found, quantization).float() for layer, found in parts.items()}
    for layer, weight in layers.items():
        if weight.shape != (expected := base.weight(layer)).shape:
            raise Wrong(f"{layer} is {tuple(weight.shape)}, the base's {tuple(expected.shape)}")
    symmetric = bool(quantization.get("sym", kind != "awq"))
    _check_kept(base, kept, layers, changed=folder.name.split("-")[-2] == "awq")
    loaded = reload(base, folder, "auto" if kind == "bitsandbytes" else "float32")
    meant = base.logits_with(kept, layers)
    error = distance(meant, base.logits)
    if error > _NOTHING_IN_COMMON:
        raise Wrong(f"its dequantized weights have nothing to do with the base's: error {error:.2f}")
    ratio = None
    floats = "float" in quantization.get("format", "") or "fp4" in quantization.get("format", "")
    if kind == "bitsandbytes" or floats:
        rounding = float_rounding if floats else bitsandbytes_rounding
        _check_each(base, layers, lambda weight: rounding(weight, quantization))
    else:
        nearest = {
            layer: round_to_nearest(
                base.weight(layer), bits, weight.shape[1] // _groups(parts[layer]), symmetric=symmetric
            )
            for layer, weight in layers.items()
        }
        ratio = error / distance(_logits_of_nearest(base, kept, nearest), base.logits)
    allowed = max(_KERNEL_ERROR[kind], _KERNEL_SHARE * error)
    if kind == "bitsandbytes":
        allowed += base.noise + (_INT8_SHARE * error if bits == 8 else 0.0)
    if floats and bits == 8:
        allowed += 2 * _INT8_SHARE * error
    _check_loaded(loaded, meant, base.logits.std(), allowed, error)
    if ratio is not None and ratio >= 1:
        raise Wrong(f"worse than rounding to nearest: error {error:.4f} is {ratio:.3f} of that")
    return Verdict(error=error, ratio=ratio, share=_share(base, layers), layers=len(layers), format=kind)


def _judge_file(
    base: Base, folder: Path, quantization: Mapping[str, Any], reload: Callable[[Base, Path, str], Logits]
) -> Verdict:
    tensors, blocks = read_meant(base, folder / quantization["gguf_file"])
    loaded = reload(base, folder, "float32")
    meant = base.logits_with(tensors, {})
    error = distance(meant, base.logits)
    if error > _NOTHING_IN_COMMON:
        raise Wrong(f"its weights have nothing to do with the base's: error {error:.2f}")
    _check_loaded(loaded, meant, base.logits.std(), _KERNEL_ERROR["gguf"], error)
    return Verdict(error=error, ratio=None, share=1.0, layers=blocks, format="gguf")


def _read(folder: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """The tensors that stand for themselves, and the parts of each quantized layer."""
    tensors = read_tensors(folder)
    parts: dict[str, dict[str, Tensor]] = {
        name.removesuffix(mark): {} for name in tensors for mark in _MARKS[kind] if name.endswith(mark)
    }
    if not parts:
        raise Wrong("nothing in it is quantized")
    kept: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        dots = (match.start() for match in re.finditer(r"\.", name))
        layer = next((name[:dot] for dot in dots if name[:dot] in parts), None)
        if layer is None or name == f"{layer}.bias":
            kept[name] = tensor
        else:
            parts[layer][name[len(layer) + 1 :]] = tensor
    return kept, parts


def _groups(parts: Mapping[str, Tensor]) -> int:
    """How many groups a row has."""
    return parts["scales"].shape[0] if "scales" in parts else parts["weight_scale"].shape[1]


def _check_kept(
    base: Base, kept: Mapping[str, Tensor], layers: Mapping[str, Tensor], *, changed: bool
) -> None:
    """Everything that is not quantized has to be there, as it was.

    Args:
        changed: whether the method scales norms and layers.
    """
    there = {base.stored_name(name): tensor for name, tensor in kept.items()}
    of_layers = {source for layer in layers for source in base.sources(layer)}
    split = any(not base.sources(layer) for layer in layers)
    state = base.model.state_dict()
    as_loaded = any(name in state and _equal(tensor, state[name]) for name, tensor in _other(base, kept))
    for name, tensor in base.tensors.items():
        if (found := there.get(name)) is None:
            if name in of_layers or split or any(_equal(tensor, one) for one in kept.values()):
                continue
            # What transformers makes of several tensors may be there instead of them.
            if as_loaded and name not in state:
                continue
            raise Wrong(f"{name} is left out")
        if not changed and not _equal(tensor, found):
            raise Wrong(f"{name} is not the base's")


def _other(base: Base, kept: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    """What is not called as in the base's files."""
    return [(name, tensor) for name, tensor in kept.items() if base.stored_name(name) is None]


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.to(other.dtype), other)


def _logits_of_nearest(base: Base, kept: Mapping[str, Tensor], nearest: Mapping[str, Tensor]) -> Logits:
    there = {base.stored_name(name) for name in kept}
    of_layers = {source for layer in nearest for source in base.sources(layer)}
    tensors = {
        name: tensor for name, tensor in base.tensors.items() if name in there and name not in of_layers
    }
    return base.logits_with({**tensors, **dict(_other(base, kept))}, nearest)


def _check_each(base: Base, layers: Mapping[str, Tensor], rounding: Callable[[Tensor], Tensor]) -> None:
    """Where each weight is rounded by itself: no layer is further off than by the plain way."""
    for layer, weight in layers.items():
        whole = base.weight(layer)
        own = rounding(whole)
        if float((weight - whole).norm()) > 1.02 * float((own - whole).norm()) + 1e-6:
            raise Wrong(f"{layer} is further off than plain rounding")


def _check_loaded(loaded: Logits, meant: Logits, spread: Tensor, allowed: float, error: float) -> None:
    if not bool(torch.isfinite(loaded).all()):
        raise Wrong("silently wrong: the reloaded checkpoint's logits are not finite")
    off = (loaded - meant).pow(2).mean(-1).sqrt() / spread
    half, most = float(off.median()), float(off.quantile(0.9))
    if half > allowed or most > _MOST * allowed:
        raise Wrong(
            f"silently wrong: reloaded, its logits are {half:.4f} (median; 90 %: {most:.4f}) off those of "
            f"the dequantized weights, which are {error:.4f} off the base's"
        )


def _share(base: Base, layers: Mapping[str, Tensor]) -> float:
    inside = sum(
        tensor.numel()
        for name, tensor in base.tensors.items()
        if tensor.dim() > 1 and re.search(r"\.\d+\.", name) and not _OTHER_PARTS.search(name)
    )
    return sum(weight.numel() for weight in layers.values()) / inside
