"""Loads a quantized base dequantized, for its own continuation beside the checkpoint's."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

from quantize_lib.architecture.tensors import Stored, TensorInfo
from quantize_lib.engine.shards import read_tensor
from quantize_lib.formats.loading import Loaded, LoadRequest


def load_dequantized(
    request: LoadRequest, tensors: Iterable[Mapping[str, Any]], quantization_config: object | None = None
) -> Loaded:
    """The model with every tensor as the engine reads it, whatever the files hold it as.

    Args:
        request: of a folder whose config.json says nothing of a quantization.
        tensors: what its class loads, each a `TensorInfo` as plain data.
        quantization_config: how they are quantized on the way, if at all.
    """
    folder = Path(request.folder)
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=request.trust_remote_code)
    started = time.monotonic()
    trust = request.trust_remote_code
    with torch.device("meta"):
        model_class: Any = type(
            getattr(transformers, request.auto_class).from_config(config, trust_remote_code=trust)
        )
    asked = {} if quantization_config is None else {"quantization_config": quantization_config}
    model, info = model_class.from_pretrained(
        None,
        config=config,
        state_dict={tensor.name: read_tensor(folder, tensor) for tensor in map(_info, tensors)},
        dtype=request.dtype,
        device_map=request.device,
        output_loading_info=True,
        **asked,
    )
    return Loaded(model=model, seconds=time.monotonic() - started, info=info)


def _info(data: Mapping[str, Any]) -> TensorInfo:
    stored = data["stored"]
    return TensorInfo(
        name=data["name"],
        dtype=data["dtype"],
        shape=tuple(data["shape"]),
        file=data["file"],
        stored=None
        if stored is None
        else Stored(
            form=stored["form"],
            codes=_info(stored["codes"]),
            scales=_info(stored["scales"]),
            grid=tuple(stored["grid"]),
            block=tuple(stored["block"]),
        ),
    )
