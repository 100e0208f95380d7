"""Tensors and linear layers of a base model, as config and headers tell of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """One tensor of a safetensors header."""

    name: str
    dtype: str
    """As safetensors writes it: F32, F16, BF16, …"""
    shape: tuple[int, ...]
    file: str
    """The shard, relative to the model's folder."""


@dataclass(frozen=True, kw_only=True)
class LayerInfo:
    """A linear layer that will be quantized, known from config and headers alone."""

    name: str
    """The module's full name, without `.weight`."""
    in_features: int
    out_features: int
