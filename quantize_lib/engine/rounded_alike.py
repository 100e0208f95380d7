"""Cells that ask for the same codes and differ in how they store them: what they are made of is made once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from quantize_lib.engine.cell_work import CellWork
from quantize_lib.files import sha256_json
from quantize_lib.methods.settings import SHARED, plain_value


def rounded_alike(cells: Iterable[CellWork], model_type: str) -> dict[str, tuple[CellWork, ...]]:
    """The cells by a digest of all that their rounding depends on, in the order of the first of each.

    The digest is the same in every process that works on a pass, whichever of its cells are still wanted.

    Args:
        model_type: of the model's config.
    """
    found: dict[str, tuple[CellWork, ...]] = {}
    for cell in cells:
        # With defaults filled in: a format may not take a setting whose default is all that it has.
        own = [one for one in cell.method.settings if one.name not in SHARED]
        inputs = cell.format.rounds_inputs(model_type)
        digest = sha256_json(
            {
                "method": cell.method.name,
                "bits": cell.settings.bits,
                "settings": {one.name: plain_value(cell.settings[one]) for one in own},
                # What the other settings come to.
                "layers": dict(cell.layers),
                "types": dict(cell.types),
                "grid": asdict(cell.grid),
                "inputs": None if inputs is None else asdict(inputs),
            }
        )
        found[digest] = (*found.get(digest, ()), cell)
    return found
