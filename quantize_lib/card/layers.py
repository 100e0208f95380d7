"""Which layers have which bits or types, as a table that stays short for any model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quantize_lib.architecture.blocks import of_all_blocks
from quantize_lib.card.escape import Safe
from quantize_lib.formats import get_format
from quantize_lib.report.records import CellRecord


@dataclass(frozen=True, kw_only=True)
class LayersTable:
    """Layers, or tensors, counted by name and width.

    Attributes:
        sentence: what it is a table of.
        counted: heading of the first column.
        widths: further headings, the fewest bits first: `3 bits`, or types.
        rows: a name with a `*` for block and expert, and how many there are of each width; nothing where
            there are none.
    """

    sentence: Safe
    counted: str
    widths: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def layers_table(record: CellRecord) -> LayersTable:
    """The table of a cell whose layers or tensors were each given their own."""
    if record.types:
        order = list(get_format(record.format).kinds)
        found = sorted(set(record.types.values()))
        kinds = tuple(sorted(found, key=lambda kind: order.index(kind) if kind in order else len(order)))
        return LayersTable(
            sentence=Safe("Each tensor has the type by which the model loses least. Tensors by their types:"),
            counted="tensors",
            widths=kinds,
            rows=_rows(record.types, kinds),
        )
    bits = {name: f"{width} bits" for name, (width, _) in record.layers.items()}
    widths = tuple(f"{width} bits" for width in sorted({width for width, _ in record.layers.values()}))
    return LayersTable(
        sentence=Safe("Each layer has the bits by which the model loses least. Layers by their bits:"),
        counted="layers",
        widths=widths,
        rows=_rows(bits, widths),
    )


def _rows(widths: Mapping[str, str], heads: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The counts by name.

    Args:
        widths: by full name, in the model's order.
        heads: all that there are.
    """
    counts: dict[str, dict[str, int]] = {}
    for name, width in widths.items():
        row = counts.setdefault(of_all_blocks(name), {})
        row[width] = row.get(width, 0) + 1
    return tuple((name, tuple(str(row.get(head) or "") for head in heads)) for name, row in counts.items())
