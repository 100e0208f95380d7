"""Cells that ask for the same codes and differ in how they store them: what they are made of is made once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from quantize_lib.engine.cell_work import CellWork
from quantize_lib.files import sha256_json


def rounded_alike(cells: Iterable[CellWork], model_type: str) -> dict[str, tuple[CellWork, ...]]:
    """The cells by a digest of all that their rounding depends on, in the order of the first of each.

    The digest is the same in every process that works on a pass, whichever of its cells are still wanted.

    Args:
        model_type: of the model's config.
    """
    found: dict[str, tuple[CellWork, ...]] = {}
    for cell in cells:
        settings = asdict(cell.settings)
        del settings["format"]
        inputs = cell.format.rounds_inputs(model_type)
        digest = sha256_json(
            {
                "settings": settings,
                "layers": dict(cell.layers),
                "types": dict(cell.types),
                "grid": asdict(cell.grid),
                "inputs": None if inputs is None else asdict(inputs),
            }
        )
        found[digest] = (*found.get(digest, ()), cell)
    return found
