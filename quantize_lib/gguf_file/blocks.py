"""Rows of weights as blocks of a tensor type, and back: the bytes that llama.cpp makes of the same rows.

What the package `gguf` writes, it writes. Types that it only reads, and all where importance is known, are
written by `libgguf`, which has llama.cpp's own reference code. A row depends on no other: they are shared out
among threads.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from quantize_lib.errors import EngineError
from quantize_lib.gguf_file.types import HALF, ggml_type

if TYPE_CHECKING:
    import numpy as np

    Rows = np.ndarray[Any, Any]

_PLAIN = ("Q8_0", HALF)
"""Types in which importance has no part."""
_PIECE = 1 << 20
"""Weights that a thread takes at a time."""


def to_blocks(weight: Tensor, name: str, importance: Tensor | None = None) -> Tensor:
    """Blocks of a matrix.

    Args:
        weight: float32 (rows, columns); the columns fit into blocks.
        name: of the tensor type.
        importance: mean of the squared inputs, float32 (columns,); None where it is not known.

    Returns:
        uint8 (rows, bytes), on the CPU.

    Raises:
        EngineError: where weights are not finite, or a library is missing.
    """
    if not bool(torch.isfinite(weight).all()):
        raise EngineError("weights are not finite, which blocks of 4 to 8 bits cannot hold")
    rows = weight.detach().cpu().contiguous()
    known = None if importance is None or name in _PLAIN else _floored(importance)
    step = max(1, _PIECE // rows.shape[1])
    pieces = [rows[start : start + step] for start in range(0, len(rows), step)]
    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as threads:
        made = list(threads.map(lambda piece: _blocks(piece.numpy(), name, known), pieces))
    return torch.cat([torch.from_numpy(piece) for piece in made])


def from_blocks(blocks: Tensor, name: str) -> Tensor:
    """What blocks mean, as transformers reads them: float32 (rows, columns)."""
    from gguf import dequantize

    return torch.from_numpy(dequantize(blocks.numpy(), ggml_type(name))).reshape(len(blocks), -1).float()


def _blocks(rows: Rows, name: str, importance: Rows | None) -> Rows:
    from gguf import quantize

    made: Rows | None = None
    if importance is None:
        # The package has no other way to say which types it writes.
        with suppress(NotImplementedError):
            made = quantize(rows, ggml_type(name)).view("uint8")
    if made is None:
        made = _libgguf().quantize_rows(rows, int(ggml_type(name)), importance)
    return made


def _floored(importance: Tensor) -> Rows:
    """Importance above zero: blocks whose inputs were never seen are rounded like others."""
    values = importance.detach().float().cpu()
    floor = max(float(values.max()), 1e-20) * 1e-8
    return values.clamp(min=floor).contiguous().numpy()


def _libgguf() -> Any:
    try:
        import libgguf
    except ImportError as error:
        raise EngineError(
            f"libgguf cannot be imported ({error}), which writes K-quants",
            hint="pip install libgguf; where it has no wheel for your machine, take type: Q8_0.",
        ) from error
    return libgguf
