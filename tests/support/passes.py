"""Cells for a shared pass whose tensors stay in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from quantize_lib.architecture.assignment import format_of, stored_types
from quantize_lib.architecture.group_sizes import resolved_layers
from quantize_lib.engine.cell_work import CellWork, TensorSink
from quantize_lib.methods import Settings, get_method
from quantize_lib.source.facts import ModelFacts


class Memory:
    """A sink that keeps what it was given."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}

    def write(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors.update(tensors)

    def discard(self) -> None:
        raise AssertionError("no cell fails here")


def work(facts: ModelFacts, settings: Settings, sink: TensorSink, *, cell_id: str) -> CellWork:
    """A cell's work, as a job gives it to a pass."""
    return CellWork(
        id=cell_id,
        settings=settings,
        method=get_method(settings.method),
        format=format_of(facts, settings),
        layers={layer.name: (bits, size) for layer, bits, size in resolved_layers(facts, settings)},
        sink=sink,
        types=stored_types(facts, settings),
    )


def works(facts: ModelFacts, cells: Sequence[tuple[str, int]], **own: Any) -> list[CellWork]:
    """The cells' work; `own` are settings of those whose method takes them."""
    made: list[CellWork] = []
    for method, bits in cells:
        taken = {setting.name for setting in get_method(method).settings}
        settings = Settings(
            method=method, bits=bits, own={name: value for name, value in own.items() if name in taken}
        )
        made.append(work(facts, settings, Memory(), cell_id=f"{method}-{bits}"))
    return made
