"""Which layers have which bits, as a table that stays short for any model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quantize_lib.architecture.blocks import of_all_blocks


@dataclass(frozen=True, kw_only=True)
class LayersTable:
    """Layers counted by name and width.

    Attributes:
        bits: headings, the fewest first: `3 bits`.
        rows: a layer's name with a `*` for block and expert, and how many there are of each width; nothing
            where there are none.
    """

    bits: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def layers_table(layers: Mapping[str, tuple[int, int]]) -> LayersTable:
    """The table of a cell's layers.

    Args:
        layers: bits and group size by full name, in the model's order.
    """
    counts: dict[str, dict[int, int]] = {}
    for name, (bits, _) in layers.items():
        row = counts.setdefault(of_all_blocks(name), {})
        row[bits] = row.get(bits, 0) + 1
    widths = sorted({bits for row in counts.values() for bits in row})
    return LayersTable(
        bits=tuple(f"{bits} bits" for bits in widths),
        rows=tuple(
            (name, tuple(str(row.get(bits) or "") for bits in widths)) for name, row in counts.items()
        ),
    )
