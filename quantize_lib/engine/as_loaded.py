"""Reads tensors as a loaded model has them, for loaders that would convert them wrongly."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch import Tensor

from quantize_lib.engine.model import StreamedModel

_WEIGHT = ".weight"


def read_as_loaded(model: StreamedModel, names: Collection[str]) -> Iterator[tuple[str, Tensor]]:
    """As `StreamedModel.read`, but that what transformers makes of several weights is made here.

    transformers gives every converter of such weights to a format that dequantizes on loading, which takes
    those that are not quantized for nothing.

    Args:
        names: as in a checkpoint; what is made has its name in memory.
    """
    wanted = dict.fromkeys(names)
    for origin in model.names.origins:
        written = {model.names.written(source): source for source in origin.sources}
        if origin.converter is None or not wanted.keys() >= written.keys():
            continue
        if all(source.endswith(_WEIGHT) for source in origin.sources):
            tensors = {written[name]: tensor for name, tensor in model.read(written)}
            yield from model.names.make(origin, tensors).items()
            for name in written:
                del wanted[name]
    yield from model.read(wanted)
