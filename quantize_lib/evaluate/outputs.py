"""What a model that continues no text gives for a prompt, and whether two give the same."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_TOLERANCE = 1e-3
"""Of the largest value: kernels of one library on one machine differ by less."""


def outputs_of(model: Any, tokenizer: Any, prompt: str) -> dict[str, Tensor]:
    """The floating-point outputs of one forward, by name, in float32 on the CPU.

    Args:
        model: of transformers, for any task; a decoder reads what the encoder does.
    """
    import torch

    inputs = tokenizer(prompt, return_tensors="pt").to(model.device)
    asked = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}
    if "decoder_input_ids" in inspect.signature(model.forward).parameters:
        asked["decoder_input_ids"] = inputs["input_ids"]
    with torch.inference_mode():
        outputs = model(**asked)
    return {
        name: value.float().cpu()
        for name, value in outputs.items()
        if isinstance(value, torch.Tensor) and value.is_floating_point()
    }


def difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str | None:
    """Where two models' outputs differ, and how much; None where they do not."""
    for name, wanted in other.items():
        found = one.get(name)
        if found is None or found.shape != wanted.shape:
            return f"{name} is missing or of another shape"
        largest = float((found - wanted).abs().max())
        # A difference that is no number is none that is small enough.
        if not largest <= _TOLERANCE * float(wanted.abs().max()):
            return f"{name} differs by up to {largest:.3g}, values reach {float(wanted.abs().max()):.3g}"
    return None
