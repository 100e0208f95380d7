"""A plan for people: plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quantize_lib.effective_settings import effective_settings
from quantize_lib.methods.common import is_automatic
from quantize_lib.plan.cells import Cell, Plan
from quantize_lib.plan.choices import choices_of
from quantize_lib.plan.estimate import JobEstimate
from quantize_lib.plan.serving import Serving
from quantize_lib.plan.shards import jobs_to_split
from quantize_lib.plan.verdict import Verdict
from quantize_lib.state_stores import beyond_output, state_label
from quantize_lib.targets import label
from quantize_lib.text import format_bytes
from quantize_lib.wording import joined

_UNKNOWN = "?"
_NONE: Mapping[str, Verdict] = {}


def plan_table(
    plan: Plan,
    estimates: Mapping[str, JobEstimate],
    verdicts: Mapping[str, Verdict] = _NONE,
    *,
    shards: int | None = None,
) -> str:
    """Cells, then jobs with what they need; `?` stands where there is no estimate.

    Args:
        plan: the plan.
        estimates: by job id.
        verdicts: by cell id; why each is to be built or not.
        shards: over how many jobs each calibration text is to be split; None for not at all.
    """
    heads = ("Cell", "Job", "Format", "Group size", "Checkpoint", "Repository")
    cells = [(*heads, "Build") if verdicts else heads]
    jobs = [("Job", "Device", "Cells", "Download", "Disk", "Peak memory")]
    for job in plan.jobs:
        estimate = estimates.get(job.id)
        for cell in job.cells:
            size = format_bytes(estimate.cells[cell.id]) if estimate else _UNKNOWN
            chosen = (_format(cell, estimate), _group_size(cell, estimate))
            row = (cell.id, job.id, *chosen, size, cell.repository)
            cells.append((*row, _why(verdicts[cell.id])) if verdicts else row)
        needs = [estimate.download_bytes, estimate.disk_bytes, estimate.peak_memory_bytes] if estimate else []
        download, disk, memory = map(format_bytes, needs) if needs else [_UNKNOWN] * 3
        jobs.append((job.id, job.device, str(len(job.cells)), download, disk, memory))
    lines = [*_columns(cells, right=(3, 4)), "", *_columns(jobs, right=(2, 3, 4, 5))]
    if any(estimate.serving for estimate in estimates.values()):
        lines += ["", *_columns(_served(plan, estimates), right=(1, 2))]
    lines += ["", f"Published to {label(plan.publish)}."]
    if beyond_output(plan.state):
        most = [f"{job} at most {format_bytes(estimate.state_bytes)}" for job, estimate in estimates.items()]
        what = f": {joined(most)}" if most else ""
        lines.append(f"State of unfinished jobs is kept in {state_label(plan.state)}{what}.")
    lines += [
        f"Of {choice.model} the smallest that meets its limits: {joined(choice.ids, 'or')}."
        for choice in choices_of(plan)
    ]
    lines += _split(plan, estimates, shards) if shards else []
    lines += [f"Warning: {warning}" for warning in plan.warnings]
    return "\n".join(lines)


def _split(plan: Plan, estimates: Mapping[str, JobEstimate], shards: int) -> list[str]:
    """What the shards of each calibration text leave on disk."""
    lines = []
    for job in jobs_to_split(plan, shards):
        known = estimates.get(job.id)
        each, whole = (_UNKNOWN, _UNKNOWN)
        if known is not None:
            each, whole = format_bytes(known.statistics_bytes), format_bytes(known.statistics_bytes * shards)
        lines.append(f"{job.id}: each of {shards} shards leaves {each} of statistics, all of them {whole}.")
    return lines


def _served(plan: Plan, estimates: Mapping[str, JobEstimate]) -> list[tuple[str, ...]]:
    """What servers need of each checkpoint."""
    rows: list[tuple[str, ...]] = [("Served", "Weights", "Cache, 1,000 tokens", "GPUs", "Kernel")]
    for job in plan.jobs:
        estimate = estimates.get(job.id)
        for cell in job.cells if estimate else ():
            assert estimate is not None
            need = estimate.serving[cell.id]
            cache = _UNKNOWN if need.cache_bytes is None else format_bytes(need.cache_bytes)
            gpus = ", ".join(str(split.gpus) for split in need.splits) or _UNKNOWN
            if need.limits:
                least = min(need.limits)
                gpus += f"; not {least}: {need.limits[least]}"
            how = need.unknown or _kernels(need)
            rows.append((cell.id, format_bytes(estimate.cells[cell.id]), cache, gpus, how))
    return rows


def _kernels(need: Serving) -> str:
    """By which kernels a checkpoint is read, with the numbers of GPUs where they differ."""
    found: dict[str, list[int]] = {}
    for split in need.splits:
        servers: dict[str, list[str]] = {}
        for server, kernel in split.kernels.items():
            servers.setdefault(kernel, []).append(server)
        words = "; ".join(f"{kernel} ({', '.join(names)})" for kernel, names in servers.items())
        found.setdefault(words or _UNKNOWN, []).append(split.gpus)
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"on {', '.join(map(str, gpus))}: {words}" for words, gpus in found.items())


def _why(verdict: Verdict) -> str:
    return f"{'yes' if verdict.build else 'no'}: {verdict.text}"


def _format(cell: Cell, estimate: JobEstimate | None) -> str:
    return estimate.formats[cell.id] if estimate else cell.settings.format


def _group_size(cell: Cell, estimate: JobEstimate | None) -> str:
    settings = effective_settings(cell.settings)
    if "group_size" not in settings:
        return "-"
    if is_automatic(cell.settings):
        return "by layer"
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
