"""A rounded block as the tensors of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Collection

from torch import Tensor, nn

from quantize_lib.engine.block import RoundedBlock
from quantize_lib.engine.linears import find_linears
from quantize_lib.engine.model import StreamedModel
from quantize_lib.formats import BlockShape, Format


def pack_block(
    chosen: Format,
    model: StreamedModel,
    module: nn.Module | None,
    rounded: RoundedBlock,
    *,
    named: Callable[[str, str], str] = "{}.{}".format,
) -> dict[str, Tensor]:
    """The tensors that take the place of those of a block, or of a part of it, on the CPU.

    Args:
        chosen: packs the layers; it may want tensors of its own besides.
        module: the block in full precision; None where such tensors have been made for it already.
        named: gives the name of a tensor from the relative name of its module, and the last part of its own.
    """
    dtype = model.disk_dtype
    tensors: dict[str, Tensor] = {}
    if module is not None:
        shape = BlockShape(model_type=str(model.config.model_type), widths=_widths(module))
        for name, value in chosen.additions(shape).items():
            tensors[_full(name, named)] = value.to(dtype)
    tensors |= {_full(name, named): value for name, value in rounded.params.items()}
    for name, layer in rounded.layers.items():
        parts = chosen.pack(layer)
        if layer.bias is not None:
            parts["bias"] = layer.bias.to(dtype)
        tensors |= {named(name, part): value for part, value in parts.items()}
    return {name: value.cpu().contiguous() for name, value in tensors.items()}


def split_layers(
    model: StreamedModel, index: int, module: nn.Module, quantized: Collection[str]
) -> dict[str, Tensor]:
    """Layers in full precision that share a tensor with quantized ones, by full name, on the CPU.

    Loaders of quantized checkpoints hold each expert's layers on their own; the tensor of all is not written.

    Args:
        index: of the block.
        module: the block, in which these layers are what they were.
        quantized: the layers that are quantized, as checkpoints have them.
    """
    tensors = model.layer_tensors(index)
    replaced = {tensors[name] for name in tensors if name in quantized}
    linears = find_linears(module)
    return {
        f"{full}.weight": linears[name].view.to(model.disk_dtype).cpu().contiguous()
        for name, full in model.layer_names(index).items()
        if full not in quantized and tensors[full] in replaced
    }


def _full(name: str, named: Callable[[str, str], str]) -> str:
    path, _, leaf = name.rpartition(".")
    return named(path, leaf)


def _widths(module: nn.Module) -> dict[str, int]:
    """Outputs of the block's linear layers and of modules with a weight of one dimension."""
    linears = find_linears(module)
    widths = {}
    for name, child in module.named_modules():
        weight = child._parameters.get("weight")
        if name in linears:
            widths[name] = linears[name].shape[0]
        elif isinstance(weight, Tensor) and weight.dim() == 1:
            widths[name] = len(weight)
    return widths
