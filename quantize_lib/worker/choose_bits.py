"""Gives the layers of cells with a target their bits or types, before the pass that makes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantize_lib.architecture.assignment import format_of
from quantize_lib.errors import EngineError
from quantize_lib.files import read_json, sha256_json, write_json
from quantize_lib.formats import Trial
from quantize_lib.job.job_file import JobCell
from quantize_lib.methods import Override, Settings, get_method
from quantize_lib.methods.common import is_automatic
from quantize_lib.methods.settings import LayerWidth
from quantize_lib.plan.automatic_bits import WEIGHT, Choice, choice_of
from quantize_lib.reporting import Reporter
from quantize_lib.source.facts import ModelFacts

if TYPE_CHECKING:
    from torch import Tensor

    from quantize_lib.engine.bit_costs import UnitCosts
    from quantize_lib.engine.model import StreamedModel


def with_bits(
    cells: Sequence[JobCell],
    *,
    model: StreamedModel,
    facts: ModelFacts,
    calibration: Tensor | None,
    base: Path,
    folder: Path,
    key: str,
    reporter: Reporter,
) -> tuple[JobCell, ...]:
    """The cells, those with a target with the bits of their layers as overrides, or the types of tensors.

    What is measured is measured once for all cells that are tried in the same way, and kept for a process
    that goes on from here.

    Args:
        base: the base model's folder.
        folder: where it is kept.
        key: digest of what determines a pass, and of the calibration text.

    Raises:
        UsageError: where a target cannot be met.
        SourceError: where the base model cannot be read.
        EngineError: where a layer cannot be rounded.
    """
    choices = {
        cell.id: choice_of(facts, cell.settings, base) for cell in cells if is_automatic(cell.settings)
    }
    trials: dict[Trial, list[str]] = {}
    for cell in cells:
        if cell.id in choices:
            trials.setdefault(_trial(facts, cell.settings), []).append(cell.id)
    if choices and calibration is None:
        raise EngineError("bits are chosen with calibration text, and there is none")
    chosen: dict[str, dict[str, LayerWidth]] = {}
    for trial, ids in trials.items():
        widths = _all_widths(choices[cell_id] for cell_id in ids)
        file = folder / f"bits-{sha256_json([key, str(trial), widths])[:16]}.json"
        costs = _known(file)
        if costs is None:
            from quantize_lib.engine.bit_costs import measure_costs

            assert calibration is not None
            costs = measure_costs(model, calibration, widths, trial, reporter)
            write_json(file, [_plain(unit) for unit in costs])
        chosen |= {cell_id: _choose(choices[cell_id], costs) for cell_id in ids}
    for cell_id, layers in chosen.items():
        reporter.info(f"{cell_id}: {_words(layers)}")
    return tuple(
        replace(cell, settings=_settled(cell.settings, chosen[cell.id])) if cell.id in chosen else cell
        for cell in cells
    )


def _trial(facts: ModelFacts, settings: Settings) -> Trial:
    chosen, method = format_of(facts, settings), get_method(settings.method)
    return Trial(
        method=method.tried_by or method.name,
        grid=chosen.grid(method, settings),
        kinds=tuple(chosen.kinds.items()),
    )


def _all_widths(choices: Iterable[Choice]) -> dict[str, list[LayerWidth]]:
    """What any cell's layers may have, by the layer's name."""
    found: dict[str, dict[LayerWidth, None]] = {}
    for choice in choices:
        for name, sizes in choice.sizes.items():
            found.setdefault(name, {}).update(dict.fromkeys(sizes))
    return {name: sorted(widths, key=_order) for name, widths in found.items()}


def _order(width: LayerWidth) -> tuple[int, int, str]:
    return (0, 0, width) if isinstance(width, str) else (*width, "")


def _choose(choice: Choice, costs: Sequence[UnitCosts]) -> dict[str, LayerWidth]:
    """What each layer gets: what costs least of all that there is room for."""
    from quantize_lib.engine.knapsack import cheapest

    units: list[list[str]] = []
    options: list[dict[LayerWidth, tuple[int, float]]] = []
    for unit in costs:
        # Another cell may quantize more of them.
        names = [name for name in unit.layers if name in choice.sizes]
        if names:
            units.append(names)
            options.append(
                {
                    width: (sum(choice.sizes[name][width] for name in names), cost)
                    for width, cost in unit.costs.items()
                    if all(width in choice.sizes[name] for name in names)
                }
            )
    picked = cheapest(options, choice.room)
    return {name: width for names, width in zip(units, picked, strict=True) for name in names}


def _settled(settings: Settings, chosen: Mapping[str, LayerWidth]) -> Settings:
    """The settings with the types of all tensors, or with what most layers have as their own and an override
    for each other layer."""
    types = {f"{name}{WEIGHT}": kind for name, kind in chosen.items() if isinstance(kind, str)}
    schemes = {name: scheme for name, scheme in chosen.items() if not isinstance(scheme, str)}
    if not schemes:
        return replace(settings, types=types)
    (bits, size), _ = Counter(schemes.values()).most_common(1)[0]
    others = tuple(
        Override(modules=name, bits=scheme[0], group_size=scheme[1])
        for name, scheme in schemes.items()
        if scheme != (bits, size)
    )
    return replace(settings, bits=bits, group_size=size, overrides=others)


def _words(chosen: Mapping[str, LayerWidth]) -> str:
    """`bits by layer: 3 in 8 layers, 4 in 199 layers`, or `types by tensor: Q4_K in 30 tensors, …`."""
    types = Counter(kind for kind in chosen.values() if isinstance(kind, str))
    if types:
        return "types by tensor: " + ", ".join(f"{kind} in {types[kind]} tensors" for kind in sorted(types))
    counted = Counter(scheme[0] for scheme in chosen.values() if not isinstance(scheme, str))
    return "bits by layer: " + ", ".join(f"{bits} in {counted[bits]} layers" for bits in sorted(counted))


def _plain(unit: UnitCosts) -> dict[str, Any]:
    return {"layers": list(unit.layers), "costs": list(unit.costs.items())}


def _known(file: Path) -> list[UnitCosts] | None:
    """What an earlier process measured; None where none did, or another version."""
    from quantize_lib.engine.bit_costs import UnitCosts

    try:
        units = read_json(file)
        found = [
            UnitCosts(
                layers=tuple(unit["layers"]),
                costs={_width(width): float(cost) for width, cost in unit["costs"]},
            )
            for unit in units
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found or None


def _width(plain: Any) -> LayerWidth:
    """A choice as JSON gives it back."""
    if isinstance(plain, str):
        return plain
    bits, size = plain
    return bits, size
