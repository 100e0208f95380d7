"""Loads a checkpoint as a user would, for the check after writing; heavy imports only where they are used."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from quantize_lib.precision import Precision, precision_of


@dataclass(frozen=True, kw_only=True)
class LoadRequest:
    """What is loaded, and how.

    Attributes:
        auto_class: of transformers, for the model's task.
        dtype: `float32`, or `auto` for the checkpoint's own.
        device: `cpu`, `cuda` or `mps`.
        mode: one of the format's ways of loading; "" for its default.
        has_compiler: whether kernels that compile a piece of C before their first use can be taken.
    """

    folder: str
    dtype: str
    device: str
    trust_remote_code: bool
    auto_class: str = "AutoModelForCausalLM"
    has_compiler: bool = True
    mode: str = ""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A loaded model.

    Attributes:
        seconds: that it took, imports aside.
        info: transformers' loading info; empty where another library loaded it.
        loader: the library.
    """

    model: Any
    seconds: float
    loader: str = "transformers"
    info: Mapping[str, Any] = field(default_factory=dict)


def load_with_transformers(
    request: LoadRequest,
    quantization_config: object | None = None,
    *,
    gguf_file: str | None = None,
    with_config: bool = False,
) -> Loaded:
    """Through transformers.

    Args:
        quantization_config: what a user would pass beside the checkpoint's own.
        gguf_file: the file in the folder that is loaded in place of safetensors.
        with_config: whether the folder's `config.json` counts, and not what that file says.
    """
    import transformers

    asked: dict[str, Any] = {}
    if quantization_config is not None:
        asked["quantization_config"] = quantization_config
    if gguf_file is not None:
        asked["gguf_file"] = gguf_file
    if with_config:
        asked["config"] = transformers.AutoConfig.from_pretrained(request.folder, local_files_only=True)
    started = time.monotonic()
    # The pair that output_loading_info gives is not in transformers' annotations.
    loaded: Any = getattr(transformers, request.auto_class).from_pretrained(
        request.folder,
        dtype=request.dtype,
        device_map=request.device,
        trust_remote_code=request.trust_remote_code,
        local_files_only=True,
        output_loading_info=True,
        **asked,
    )
    model, info = loaded
    return Loaded(model=model, seconds=time.monotonic() - started, info=info)


def load_tensors(
    request: LoadRequest, read: Callable[[Mapping[str, Any], Any], Mapping[str, Any]], *, loader: str
) -> Loaded:
    """Into the class that the folder's `config.json` names first, from tensors that something else read.

    Args:
        read: gives the tensors by the names of the base model's files, from the config with its class's
            defaults and the dtype that they are to have.
        loader: what reads them.
    """
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(
        request.folder, local_files_only=True, trust_remote_code=request.trust_remote_code
    )
    # What tells transformers that it has to read the file itself.
    config.__dict__.pop("quantization_config", None)
    dtype = getattr(torch, request.dtype, None) or config.dtype or torch.float32
    started = time.monotonic()
    loaded: Any = getattr(transformers, config.architectures[0]).from_pretrained(
        None,
        config=config,
        state_dict=read(config.to_dict(), dtype),
        dtype=dtype,
        device_map=request.device,
        output_loading_info=True,
    )
    model, info = loaded
    return Loaded(model=model, seconds=time.monotonic() - started, loader=loader, info=info)


def load_with_gptqmodel(request: LoadRequest, backend: str | None) -> Loaded:
    """Through GPTQModel, which chooses the dtype: not every one of its kernels takes float32."""
    from gptqmodel import GPTQModel

    asked = {} if backend is None else {"backend": backend}
    started = time.monotonic()
    loaded = GPTQModel.load(
        request.folder, device=request.device, trust_remote_code=request.trust_remote_code, **asked
    )
    return Loaded(model=loaded.model, seconds=time.monotonic() - started, loader="GPTQModel")


def keep_dequantized_by_gptqmodel(model: Any) -> bool:
    """`Format.keep_dequantized` for layers of GPTQModel: those of its plain kernel.

    It dequantizes all its weights for every token: 1.5 s for 135M parameters of 8 bits on 2 cores.
    """
    found = [enable for module in model.modules() if (enable := getattr(module, "enable_weight_cache", None))]
    for enable in found:
        enable()
    return bool(found)


def plain_backend(request: LoadRequest, name: str) -> str | None:
    """GPTQModel's kernel of that name, where the one that it would choose cannot be compiled.

    On CUDA it takes Triton where its own kernels are not built. Triton compiles a piece of C before its first
    kernel and fails without gcc or clang (triton/runtime/build.py), which the images do not have.
    """
    return name if request.device == "cuda" and not request.has_compiler else None


def gptqmodel_precision(dtype: str, bits: int) -> Precision:
    """How finely GPTQModel's kernels compute.

    Of group scales and zeros, the 4-bit kernels that it takes on a CPU keep bfloat16 in float32 too.
    """
    return Precision.HALF if bits == 4 else precision_of(dtype)
