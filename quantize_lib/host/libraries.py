"""Which cells cannot be made on this machine, for want of a library."""

from __future__ import annotations

import platform
from collections.abc import Iterable

from quantize_lib.architecture.assignment import format_of
from quantize_lib.errors import QuantizerError, UsageError
from quantize_lib.plan.cells import Cell
from quantize_lib.source.facts import ModelFacts
from quantize_lib.versions import missing
from quantize_lib.wording import joined

_TORCH = "torch"


def without_libraries(cells: Iterable[Cell], facts: ModelFacts) -> dict[str, QuantizerError]:
    """The cells whose format needs a library that is not installed here, by id, with the reason.

    An environment without torch quantizes nothing itself, and says nothing of what quantizes elsewhere.
    """
    if missing([_TORCH]):
        return {}
    refused: dict[str, QuantizerError] = {}
    for cell in cells:
        chosen = format_of(facts, cell.settings)
        if absent := missing((*chosen.requirements, *chosen.writers(cell.settings))):
            are = "is" if len(absent) == 1 else "are"
            here = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
            refused[cell.id] = UsageError(
                f"{cell.id}: format {chosen.name} needs {joined(absent)}, which {are} not installed here "
                f"({here})",
                hint=f"Install it: pip install {' '.join(absent)}; where it has no wheel for this machine, "
                "leave the cell out, or make it on another one.",
            )
    return refused
