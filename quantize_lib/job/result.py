"""The answer of the quantizing process: what became of each cell of a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from quantize_lib.errors import CheckpointError, ErrorCode, QuantizerError, UsageError, code_of
from quantize_lib.files import finite, write_json
from quantize_lib.harness.spec import TaskFigure
from quantize_lib.job.checked import read_checked
from quantize_lib.job.records import (
    BuildFigures,
    Reload,
    SampleFigure,
    TextRecord,
    text_from_json,
    text_to_json,
)
from quantize_lib.job.schema import result_schema
from quantize_lib.metrics import METRICS, Figure

_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class FailedCell:
    """Why a cell failed.

    Attributes:
        error: why, for people.
        code: why, for programs.
    """

    error: str
    code: ErrorCode

    @classmethod
    def of(cls, error: QuantizerError) -> FailedCell:
        """The cell that an error ended."""
        return cls(error=str(error), code=error.code)


@dataclass(frozen=True, kw_only=True)
class QuantizedCell:
    """A cell whose checkpoint lies in its folder.

    Attributes:
        seconds: wall time of its own work and its share of the pass.
        size_after: bytes of its weights.
        format: how it is stored, as resolved.
        group_size: as resolved; None where the method has none.
        notes: worth knowing.
        layers: bits and group size of each quantized layer, by full name, where each was given its own.
        types: of each tensor that is stored as blocks, by name on disk, where each was given its own.
        errors: relative output error per linear layer, by full name; None where it is not finite.
        figures: by the metric's name; empty without held-out text.
        texts: the same on further held-out texts, by the text's name.
        tasks: of lm-evaluation-harness, by their ids.
        reload: None until it was loaded again.
        versions: of everything that had a part in making it.
        failure: what went wrong once its tensors were written; they lie in its folder all the same.
    """

    seconds: float
    size_after: int
    format: str
    group_size: int | None = None
    notes: tuple[str, ...] = ()
    layers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, float | None] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)
    texts: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    tasks: Mapping[str, TaskFigure] = field(default_factory=dict)
    reload: Reload | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    failure: FailedCell | None = None


CellResult = FailedCell | QuantizedCell


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What a quantizing process says of its job.

    Attributes:
        job: its id.
        device: where it computed.
        versions: of everything that had a part in it.
        peak_memory_bytes: the most that the process took.
        cells: by id.
        shared_seconds: wall time that no single cell caused; None where no pass came to its end.
        calibration, evaluation: the texts; None where there was none, or it was not reached.
        texts: further held-out texts, by name.
        builds: other builds of the base model, by the names that the manifest has for them.
        unfinished: whether another process can go on from what this one left.
    """

    job: str
    device: str
    versions: Mapping[str, str]
    peak_memory_bytes: int
    cells: Mapping[str, CellResult]
    shared_seconds: float | None = None
    calibration: TextRecord | None = None
    evaluation: TextRecord | None = None
    texts: Mapping[str, TextRecord] = field(default_factory=dict)
    builds: Mapping[str, BuildFigures] = field(default_factory=dict)
    unfinished: bool = False

    def first_failed(self) -> FailedCell | None:
        """Why the first cell failed; None where all were quantized and passed their checks."""
        failures = (cell if isinstance(cell, FailedCell) else cell.failure for cell in self.cells.values())
        return next((failure for failure in failures if failure is not None), None)


def write_result(path: Path, result: JobResult) -> None:
    """Write the answer; a reader sees all of it or nothing."""
    data: dict[str, Any] = {
        "version": _VERSION,
        "job": result.job,
        "device": result.device,
        "versions": dict(result.versions),
        "peak_memory_bytes": result.peak_memory_bytes,
        "cells": {cell_id: cell_to_json(cell) for cell_id, cell in result.cells.items()},
        "unfinished": result.unfinished,
    }
    if result.shared_seconds is not None:
        data["shared_seconds"] = result.shared_seconds
    for name, text in (("calibration", result.calibration), ("evaluation", result.evaluation)):
        if text is not None:
            data[name] = text_to_json(text)
    if result.texts:
        data["texts"] = {name: text_to_json(text) for name, text in result.texts.items()}
    if result.builds:
        data["builds"] = {name: asdict(build) for name, build in result.builds.items()}
    write_json(path, data)


def read_result(path: Path) -> JobResult:
    """The answer that a quantizing process left. It is foreign: the process ran the model's code.

    Raises:
        CheckpointError: where it is missing or not as its schema says.
    """
    try:
        data = read_checked(path, "result", result_schema())
    except UsageError as error:
        raise CheckpointError(f"the quantizing process left no usable result: {error.message}") from error
    return JobResult(
        job=data["job"],
        device=data["device"],
        versions=data["versions"],
        peak_memory_bytes=data["peak_memory_bytes"],
        cells={cell_id: cell_from_json(cell) for cell_id, cell in data["cells"].items()},
        shared_seconds=data.get("shared_seconds"),
        calibration=_text(data.get("calibration")),
        evaluation=_text(data.get("evaluation")),
        texts={name: text_from_json(text) for name, text in data.get("texts", {}).items()},
        builds={name: build_from_json(build) for name, build in data.get("builds", {}).items()},
        unfinished=data.get("unfinished", False),
    )


def cell_to_json(cell: CellResult) -> dict[str, Any]:
    """A cell as the schema says."""
    data = asdict(cell)
    if isinstance(cell, QuantizedCell):
        data["errors"] = {
            name: None if value is None else finite(value) for name, value in cell.errors.items()
        }
        if not cell.tasks:
            del data["tasks"]
        for name in ("reload", "failure"):
            if data[name] is None:
                del data[name]
    return data


def cell_from_json(data: Mapping[str, Any]) -> CellResult:
    """The cell again. A figure of a metric that is not known here is left out."""
    if "error" in data:
        return _failed(data)
    reload, failure = data.get("reload"), data.get("failure")
    return QuantizedCell(
        **{
            **data,
            "notes": tuple(data.get("notes", ())),
            "layers": {name: (bits, size) for name, (bits, size) in data.get("layers", {}).items()},
            "figures": _figures(data.get("figures", {})),
            "texts": {name: _figures(figures) for name, figures in data.get("texts", {}).items()},
            "tasks": {task: TaskFigure(**item) for task, item in data.get("tasks", {}).items()},
            "reload": None if reload is None else _reload(reload),
            "failure": None if failure is None else _failed(failure),
        }
    )


def build_from_json(data: Mapping[str, Any]) -> BuildFigures:
    """What was measured of another build, from plain data."""
    texts = {name: _figures(figures) for name, figures in data["texts"].items()}
    return BuildFigures(**{**data, "figures": _figures(data["figures"]), "texts": texts})


def _failed(data: Mapping[str, Any]) -> FailedCell:
    return FailedCell(error=data["error"], code=code_of(data["code"]))


def _reload(data: Mapping[str, Any]) -> Reload:
    sample = {name: SampleFigure(**figure) for name, figure in _known(data["sample"])}
    unrounded = dict(_known(data.get("unrounded_inputs", {})))
    modes = tuple(data.get("modes", ()))
    return Reload(**{**data, "sample": sample, "modes": modes, "unrounded_inputs": unrounded})


def _figures(data: Mapping[str, Any]) -> dict[str, Figure]:
    return {
        name: Figure(**{**item, "sequence_means": tuple(item.get("sequence_means", ()))})
        for name, item in _known(data)
    }


def _known(figures: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, figures[name]) for name in METRICS if name in figures]


def _text(data: Mapping[str, Any] | None) -> TextRecord | None:
    return None if data is None else text_from_json(data)
