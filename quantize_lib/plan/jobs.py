"""A manifest's cells as jobs: what shares one download, one load and one calibration pass."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from quantize_lib.errors import UsageError
from quantize_lib.manifest import Manifest
from quantize_lib.types import Cell, DeviceName, Job, Plan


def make_plan(manifest: Manifest, *, only: Sequence[str] = (), device: DeviceName = "auto") -> Plan:
    """The jobs of a manifest, in its order.

    Args:
        manifest: a valid manifest.
        only: ids of the cells to keep; all where empty.
        device: goes before every device in the manifest, unless it is `auto`.

    Raises:
        UsageError: where `only` names a cell that the manifest does not have.
    """
    _check_only(manifest, only)
    jobs: list[Job] = []
    for model in manifest.models:
        by_device: dict[DeviceName, list[Cell]] = {}
        for planned in model.cells:
            if not only or planned.cell.id in only:
                chosen = planned.device if device == "auto" else device
                by_device.setdefault(chosen, []).append(planned.cell)
        jobs += [
            Job(
                id=f"{model.spec.name}-{chosen}",
                model=model.spec,
                device=chosen,
                calibration=model.calibration,
                evaluate=model.evaluate,
                cells=tuple(cells),
            )
            for chosen, cells in by_device.items()
        ]
    kept = {cell.id for job in jobs for cell in job.cells}
    return Plan(
        manifest=manifest.path,
        jobs=tuple(jobs),
        publish=manifest.publish,
        runners=manifest.runners,
        # A warning begins with the id of its cell.
        warnings=tuple(text for text in manifest.warnings if text.partition(":")[0] in kept),
    )


def _check_only(manifest: Manifest, only: Sequence[str]) -> None:
    known = [planned.cell.id for model in manifest.models for planned in model.cells]
    unknown = [wanted for wanted in dict.fromkeys(only) if wanted not in known]
    if not unknown:
        return
    lines = []
    for wanted in unknown:
        near = get_close_matches(wanted[:200], known, n=1)
        suggestion = f" Perhaps you meant `{near[0]}`?" if near else ""
        lines.append(f"--only: there is no cell `{wanted}`.{suggestion}")
    raise UsageError("\n".join(lines), hint=f"The cells are: {', '.join(known)}.")
