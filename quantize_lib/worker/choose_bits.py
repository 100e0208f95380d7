"""Gives the layers of cells with a target their bits, before the pass that makes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantize_lib.architecture.assignment import format_of
from quantize_lib.errors import EngineError
from quantize_lib.files import read_json, sha256_json, write_json
from quantize_lib.job.job_file import JobCell
from quantize_lib.methods import Override, Settings, get_method
from quantize_lib.methods.common import is_automatic
from quantize_lib.methods.settings import Scheme
from quantize_lib.plan.automatic_bits import Choice, choice_of
from quantize_lib.reporting import Reporter
from quantize_lib.source.facts import ModelFacts

if TYPE_CHECKING:
    from torch import Tensor

    from quantize_lib.engine.bit_costs import UnitCosts
    from quantize_lib.engine.model import StreamedModel
    from quantize_lib.formats.rounded import Grid


def with_bits(
    cells: Sequence[JobCell],
    *,
    model: StreamedModel,
    facts: ModelFacts,
    calibration: Tensor | None,
    folder: Path,
    key: str,
    reporter: Reporter,
) -> tuple[JobCell, ...]:
    """The cells, those with a target with the bits of their layers as overrides.

    What is measured is measured once for all cells whose codes lie on the same grid, and kept for a process
    that goes on from here.

    Args:
        folder: where it is kept.
        key: digest of what determines a pass, and of the calibration text.

    Raises:
        UsageError: where a target cannot be met.
        SourceError: where the base model cannot be read.
        EngineError: where a layer cannot be rounded.
    """
    choices = {cell.id: choice_of(facts, cell.settings) for cell in cells if is_automatic(cell.settings)}
    grids: dict[Grid, list[str]] = {}
    for cell in cells:
        if cell.id in choices:
            grids.setdefault(_grid(facts, cell.settings), []).append(cell.id)
    if choices and calibration is None:
        raise EngineError("bits are chosen with calibration text, and there is none")
    chosen: dict[str, dict[str, Scheme]] = {}
    for grid, ids in grids.items():
        schemes = _all_schemes(choices[cell_id] for cell_id in ids)
        file = folder / f"bits-{sha256_json([key, str(grid), schemes])[:16]}.json"
        costs = _known(file)
        if costs is None:
            from quantize_lib.engine.bit_costs import measure_costs

            assert calibration is not None
            costs = measure_costs(model, calibration, schemes, grid, reporter)
            write_json(file, [_plain(unit) for unit in costs])
        chosen |= {cell_id: _choose(choices[cell_id], costs) for cell_id in ids}
    for cell_id, layers in chosen.items():
        reporter.info(f"{cell_id}: {_words(layers.values())}")
    return tuple(
        replace(cell, settings=_settled(cell.settings, chosen[cell.id])) if cell.id in chosen else cell
        for cell in cells
    )


def _grid(facts: ModelFacts, settings: Settings) -> Grid:
    return format_of(facts, settings).grid(get_method(settings.method), settings)


def _all_schemes(choices: Iterable[Choice]) -> dict[str, list[Scheme]]:
    """What any cell's layers may have, by the layer's name."""
    found: dict[str, dict[Scheme, None]] = {}
    for choice in choices:
        for name, sizes in choice.sizes.items():
            found.setdefault(name, {}).update(dict.fromkeys(sizes))
    return {name: sorted(schemes) for name, schemes in found.items()}


def _choose(choice: Choice, costs: Sequence[UnitCosts]) -> dict[str, Scheme]:
    """Each layer's scheme: what costs least of all that there is room for."""
    from quantize_lib.engine.knapsack import cheapest

    units: list[list[str]] = []
    options: list[dict[Scheme, tuple[int, float]]] = []
    for unit in costs:
        # Another cell may quantize more of them.
        names = [name for name in unit.layers if name in choice.sizes]
        if names:
            units.append(names)
            options.append(
                {
                    scheme: (sum(choice.sizes[name][scheme] for name in names), cost)
                    for scheme, cost in unit.costs.items()
                    if all(scheme in choice.sizes[name] for name in names)
                }
            )
    picked = cheapest(options, choice.room)
    return {name: scheme for names, scheme in zip(units, picked, strict=True) for name in names}


def _settled(settings: Settings, chosen: Mapping[str, Scheme]) -> Settings:
    """The settings with what most layers have as their own, and an override for each other layer."""
    (bits, size), _ = Counter(chosen.values()).most_common(1)[0]
    others = tuple(
        Override(modules=name, bits=scheme[0], group_size=scheme[1])
        for name, scheme in chosen.items()
        if scheme != (bits, size)
    )
    return replace(settings, bits=bits, group_size=size, overrides=others)


def _words(schemes: Iterable[Scheme]) -> str:
    """`bits by layer: 3 in 8 layers, 4 in 199 layers`."""
    counted = Counter(bits for bits, _ in schemes)
    return "bits by layer: " + ", ".join(f"{bits} in {counted[bits]} layers" for bits in sorted(counted))


def _plain(unit: UnitCosts) -> dict[str, Any]:
    return {"layers": list(unit.layers), "costs": [[*scheme, cost] for scheme, cost in unit.costs.items()]}


def _known(file: Path) -> list[UnitCosts] | None:
    """What an earlier process measured; None where none did, or another version."""
    from quantize_lib.engine.bit_costs import UnitCosts

    try:
        units = read_json(file)
        found = [
            UnitCosts(
                layers=tuple(unit["layers"]),
                costs={(bits, size): float(cost) for bits, size, cost in unit["costs"]},
            )
            for unit in units
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found or None
