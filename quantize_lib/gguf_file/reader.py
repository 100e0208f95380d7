"""Reads the weights of a GGUF file into the model's own class, where transformers does not read such files.

Blocks are unpacked by the package `gguf`; what else there is of the model is in `config.json` beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from quantize_lib.gguf_file.names import is_stack, named_on_disk
from quantize_lib.gguf_file.rotary import FACTORS
from quantize_lib.gguf_file.stored import as_read


def read_tensors(file: Path, config: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors of a file, by the names that they have in the base model's files.

    Args:
        config: the language model's part of `config.json`.

    Raises:
        ValueError: where the file has a tensor that no model of the family has.
    """
    return {name: tensor.to(dtype) for name, tensor in _read(file, config)}


def _read(file: Path, config: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    from gguf import GGUFReader, dequantize

    for found in GGUFReader(file).tensors:
        written = str(found.name)
        if written in FACTORS:
            continue
        try:
            name = named_on_disk(config, written)
        except KeyError:
            raise ValueError(
                f"{file.name} has a tensor {written}, which no {config['model_type']} has"
            ) from None
        # A copy: the file is mapped, and what is in no blocks is not unpacked.
        tensor = torch.from_numpy(dequantize(found.data, found.tensor_type).copy())
        if not is_stack(written):
            yield name, as_read(tensor, written, config).contiguous()
            continue
        for number, matrix in enumerate(tensor):
            yield name.replace("*", str(number)), matrix
