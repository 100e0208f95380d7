"""A rounded block as the tensors of a checkpoint."""

from __future__ import annotations

from torch import Tensor, nn

from quantize_lib.engine.block import RoundedBlock
from quantize_lib.engine.folds import weight_view
from quantize_lib.engine.model import StreamedModel
from quantize_lib.formats import BlockShape, Format


def pack_block(
    chosen: Format, model: StreamedModel, module: nn.Module, rounded: RoundedBlock
) -> dict[str, Tensor]:
    """The tensors that take the place of the block's, by relative name, on the CPU.

    Args:
        chosen: packs the layers; it may want tensors of its own besides.
        module: the block in full precision.
    """
    dtype = model.disk_dtype
    shape = BlockShape(model_type=str(model.config.model_type), widths=_widths(module))
    tensors = {name: value.to(dtype) for name, value in chosen.additions(shape).items()}
    tensors |= rounded.params
    for name, layer in rounded.layers.items():
        parts = chosen.pack(layer)
        if layer.bias is not None:
            parts["bias"] = layer.bias.to(dtype)
        tensors |= {f"{name}.{part}": value for part, value in parts.items()}
    return {name: value.cpu().contiguous() for name, value in tensors.items()}


def _widths(module: nn.Module) -> dict[str, int]:
    """Outputs of the block's linear layers and of modules with a weight of one dimension."""
    widths = {}
    for name, child in module.named_modules():
        weight = child._parameters.get("weight")
        if isinstance(weight, Tensor):
            widths[name] = weight.shape[0] if weight.dim() == 1 else weight_view(child).shape[0]
    return widths
