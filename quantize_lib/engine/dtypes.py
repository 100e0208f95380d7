"""Which dtype a model has: on disk, where it is computed, and as transformers loads it."""

from __future__ import annotations

from math import prod
from typing import Any, cast

import torch
from torch import nn

from quantize_lib.architecture.facts import Architecture
from quantize_lib.engine.shards import TORCH_DTYPES
from quantize_lib.errors import SourceError


def disk_dtype(facts: Architecture) -> torch.dtype:
    """The dtype of most of the model's bytes."""
    sizes: dict[str, int] = {}
    for info in facts.tensors.values():
        sizes[info.dtype] = sizes.get(info.dtype, 0) + prod(info.shape)
    best = max(sizes, key=lambda dtype: sizes[dtype])
    if best not in TORCH_DTYPES:
        raise SourceError(
            f"the base model's weights are {best}; quantizing starts from {', '.join(TORCH_DTYPES)}",
            hint="Name the full-precision model, not a quantized one.",
        )
    return TORCH_DTYPES[best]


def compute_dtype(device: torch.device, disk: torch.dtype) -> torch.dtype:
    """float32 on CPU and MPS; on CUDA the 16-bit dtype that the model was stored in."""
    if device.type == "cuda" and disk == torch.bfloat16 and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float32


def loaded_dtypes(model: nn.Module, dtype: torch.dtype) -> dict[str, torch.dtype]:
    """Of every parameter and stored buffer, as from_pretrained gives them."""
    from transformers.core_model_loading import build_glob_alternation

    dtypes = {name: tensor.dtype for name, tensor in model.state_dict().items()}
    plan = cast(Any, model)._get_dtype_plan(dtype)
    if plan:
        pattern, words, _ = build_glob_alternation(list(plan))
        for name in dtypes:
            found = pattern.search(name)
            if found is not None and found.lastgroup is not None:
                dtypes[name] = plan[words[found.lastgroup]]
    return dtypes
