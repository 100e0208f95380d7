"""Cells as jobs: what shares one download, one load and one calibration pass; and a part of a plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches

from quantize_lib.devices import DeviceName
from quantize_lib.errors import UsageError
from quantize_lib.plan.cells import Cell, Job, Plan
from quantize_lib.plan.choices import choices_of
from quantize_lib.wording import joined


def jobs_of(model: Job, cells: Iterable[tuple[Cell, DeviceName]]) -> list[Job]:
    """The jobs of one model, a device each, in the order in which the devices come first.

    Args:
        model: what its jobs have in common; id, device and cells are filled in.
        cells: each with the device that it is for.
    """
    by_device: dict[DeviceName, list[Cell]] = {}
    for cell, device in cells:
        by_device.setdefault(device, []).append(cell)
    return [
        replace(model, id=f"{model.model.name}-{device}", device=device, cells=tuple(chosen))
        for device, chosen in by_device.items()
    ]


def narrow(plan: Plan, *, only: Sequence[str] = (), device: DeviceName = "auto") -> Plan:
    """A part of a plan, perhaps for another device.

    Args:
        only: ids of the cells to keep; all where empty.
        device: takes precedence over every device in the manifest, unless it is `auto`.

    Raises:
        UsageError: where `only` names a cell that the plan does not have.
    """
    _check_only(plan, only)
    by_model: dict[str, list[Job]] = {}
    for job in plan.jobs:
        by_model.setdefault(job.model.name, []).append(job)
    jobs: list[Job] = []
    for parts in by_model.values():
        cells = sorted(
            ((cell, part.device) for part in parts for cell in part.cells if not only or cell.id in only),
            key=lambda pair: pair[0].position,
        )
        jobs += jobs_of(parts[0], ((cell, own if device == "auto" else device) for cell, own in cells))
    kept = {cell.id for job in jobs for cell in job.cells}
    warnings = tuple(text for text in plan.warnings if text.partition(":")[0] in kept)
    narrowed = replace(plan, jobs=tuple(jobs), warnings=warnings)
    return replace(narrowed, warnings=(*warnings, *_cut_choices(plan, narrowed)))


def _cut_choices(plan: Plan, narrowed: Plan) -> Iterator[str]:
    """Warnings of choices that some cells have been taken out of."""
    whole = {choice.model: choice.ids for choice in choices_of(plan)}
    for choice in choices_of(narrowed):
        if choice.ids != whole[choice.model]:
            out = [identity for identity in whole[choice.model] if identity not in choice.ids]
            yield (
                f"{choice.ids[0]}: the smallest of {choice.model} is chosen among the cells of --only, "
                f"without {joined(out)}."
            )


def _check_only(plan: Plan, only: Sequence[str]) -> None:
    known = [cell.id for cell in sorted((cell for _, cell in plan.cells()), key=lambda cell: cell.position)]
    unknown = [wanted for wanted in dict.fromkeys(only) if wanted not in known]
    if not unknown:
        return
    lines = []
    for wanted in unknown:
        near = get_close_matches(wanted[:200], known, n=1)
        suggestion = f" Perhaps you meant `{near[0]}`?" if near else ""
        lines.append(f"--only: there is no cell `{wanted}`.{suggestion}")
    raise UsageError("\n".join(lines), hint=f"The cells are: {', '.join(known)}.")
