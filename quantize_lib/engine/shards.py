"""Opens the base model's shards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from quantize_lib.architecture.tensors import TensorInfo
from quantize_lib.engine.dequantized import dequantize
from quantize_lib.errors import SourceError

TORCH_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Full precision, as safetensors calls it."""
_PIECE = 1 << 20


@contextmanager
def open_shard(folder: Path, file: str) -> Iterator[Any]:
    """A safetensors file, mapped; tensors and slices are read from it inside this context.

    Raises:
        SourceError: where it cannot be read.
    """
    try:
        with safe_open(folder / file, framework="pt", device="cpu") as shard:
            yield shard
    except (SafetensorError, OSError) as error:
        raise SourceError(
            f"{folder.name}/{file} cannot be read: {error}",
            hint="The file is damaged or incomplete; fetch the base model again.",
        ) from error


def read_tensor(folder: Path, info: TensorInfo) -> Tensor:
    """A tensor of the base model; one that is stored quantized is dequantized.

    What is not is mapped from its shard, opened for it alone: its pages count as resident memory until it
    goes.

    Raises:
        SourceError: where a shard cannot be read.
    """
    if info.stored is None:
        with open_shard(folder, info.file) as shard:
            return cast(Tensor, shard.get_tensor(info.name))
    codes, scales = info.stored.codes, info.stored.scales
    return dequantize(
        info.stored, read_tensor(folder, codes), read_tensor(folder, scales), TORCH_DTYPES[info.dtype]
    )


def read_finite(folder: Path, info: TensorInfo) -> Tensor:
    """As `read_tensor`.

    Raises:
        SourceError: where the shard cannot be read or the tensor is not finite.
    """
    tensor = read_tensor(folder, info)
    # In pieces: masks of a whole embedding would be large.
    parts = tensor.flatten().split(_PIECE) if tensor.is_floating_point() else ()
    if not all(bool(torch.isfinite(part).all()) for part in parts):
        raise SourceError(
            f"{info.file}: tensor {info.name} holds NaN or Inf",
            hint="The base model is damaged; fetch it again or choose another revision.",
        )
    return tensor
