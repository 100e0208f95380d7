"""llama.cpp's own quantization of a GGUF file, through the package llama-cpp-python."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from quantize_lib.gguf_file.types import file_number

_TIED_UP: list[Any] = []


def quantize_file(
    source: Path, target: Path, file_type: str, importance: Mapping[str, np.ndarray[Any, Any]]
) -> None:
    """What `llama-quantize --imatrix` does.

    Args:
        importance: float32 by the name of a tensor in the file.
    """
    import llama_cpp

    class Importance(ctypes.Structure):
        _fields_ = (("name", ctypes.c_char_p), ("data", ctypes.c_void_p), ("size", ctypes.c_size_t))

    log = llama_cpp.llama_log_callback(lambda *_: None)
    _TIED_UP.append(log)
    llama_cpp.llama_log_set(log, ctypes.c_void_p(0))
    entries = (Importance * (len(importance) + 1))()
    for entry, (name, values) in zip(entries, importance.items(), strict=False):
        entry.name, entry.data, entry.size = name.encode(), values.ctypes.data, values.size
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = file_number(file_type)
    params.nthread = 1
    params.imatrix = ctypes.cast(entries, type(params.imatrix)) if importance else None
    done = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params))
    assert done == 0, file_type


def read_file(path: Path) -> dict[str, tuple[str, bytes]]:
    """The type and the bytes of each tensor of a file."""
    from gguf import GGUFReader

    return {
        tensor.name: (tensor.tensor_type.name, np.ascontiguousarray(tensor.data).tobytes())
        for tensor in GGUFReader(path).tensors
    }
