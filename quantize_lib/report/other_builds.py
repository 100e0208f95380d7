"""Other builds of a base model beside its cells: who made them, and how far they are from each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from quantize_lib.job.records import BuildFigures
from quantize_lib.metrics import Metric
from quantize_lib.metrics.figure import number, paired
from quantize_lib.report.records import CellRecord

BY_OTHERS = "by others"
"""How tables and pictures mark them."""
RULE = (
    "Builds by others are measured as these are, by the same code on the same tokens; nothing is taken from "
    "their cards. They are loaded as their users load them, so their figures hold what their kernels round."
)


def other_builds(records: Iterable[CellRecord]) -> dict[str, BuildFigures]:
    """The other builds of the base model of these cells that were measured, by name, the smallest first."""
    found = {name: build for name, build in _builds(records) if build.figures}
    return dict(sorted(found.items(), key=lambda one: one[1].size))


def faults(records: Iterable[CellRecord]) -> dict[str, str]:
    """Why others could not be measured, by name."""
    return {name: build.fault for name, build in _builds(records) if build.fault is not None}


def hub_page(name: str, build: BuildFigures) -> str | None:
    """Where a person sees a build at the revision that was measured; None for a folder."""
    if build.revision.startswith("sha256:"):
        return None
    return f"https://huggingface.co/{name.partition('@')[0]}/tree/{build.revision}"


def differences(record: CellRecord, metric: Metric) -> Iterator[tuple[str, str]]:
    """For each other build its name, and how far a cell's figure is from its, paired by sequence."""
    measured = record.measurements
    own = None if measured is None else measured.figure(metric)
    for name, build in other_builds([record]).items():
        other = build.figures.get(metric.name)
        if own is None or other is None or (apart := paired(own, other)) is None:
            continue
        mean, error = apart
        yield (
            name,
            f"{metric.title} {number(own.after)} here, {number(other.after)} there; the difference, "
            f"{mean:+.3g} ± {error:.2g}, is paired by sequence",
        )


def _builds(records: Iterable[CellRecord]) -> Iterator[tuple[str, BuildFigures]]:
    for record in records:
        builds: Mapping[str, BuildFigures] = {} if record.measurements is None else record.measurements.builds
        yield from builds.items()
