"""A plan for people: plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quantize_lib.plan.estimate import JobEstimate
from quantize_lib.plan.settings import effective_settings
from quantize_lib.types import Cell, Plan

_UNKNOWN = "?"


def plan_table(plan: Plan, estimates: Mapping[str, JobEstimate]) -> str:
    """Cells, then jobs with what they need; `?` stands where there is no estimate.

    Args:
        plan: the plan.
        estimates: by job id.
    """
    cells = [("Cell", "Job", "Group size", "Checkpoint", "Repository")]
    jobs = [("Job", "Device", "Cells", "Download", "Disk", "Peak memory")]
    for job in plan.jobs:
        estimate = estimates.get(job.id)
        for cell in job.cells:
            size = human_bytes(estimate.cells[cell.id]) if estimate else _UNKNOWN
            cells.append((cell.id, job.id, _group_size(cell, estimate), size, cell.repository))
        needs = [estimate.download_bytes, estimate.disk_bytes, estimate.peak_memory_bytes] if estimate else []
        download, disk, memory = map(human_bytes, needs) if needs else [_UNKNOWN] * 3
        jobs.append((job.id, job.device, str(len(job.cells)), download, disk, memory))
    target = plan.publish.path.as_posix() if plan.publish.to == "directory" else "the Hugging Face Hub"
    lines = [*_columns(cells, right=(2, 3)), "", *_columns(jobs, right=(2, 3, 4, 5))]
    lines += ["", f"Published to {target}."]
    lines += [f"Warning: {warning}" for warning in plan.warnings]
    return "\n".join(lines)


def human_bytes(count: int) -> str:
    """`94.2 MB`, in powers of 1000 as disks and the Hub count."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.95:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _group_size(cell: Cell, estimate: JobEstimate | None) -> str:
    settings = effective_settings(cell.settings)
    if "group_size" not in settings:
        return "-"
    size = estimate.group_sizes[cell.id] if estimate else settings["group_size"]
    return "row" if size == -1 else str(size)


def _columns(rows: Sequence[Sequence[str]], *, right: Sequence[int]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
