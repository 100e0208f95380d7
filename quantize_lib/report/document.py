"""`report.json`: records as JSON and back.

A cell's figures that others script against stand flat in its object; what belongs together beyond that is
nested. JSON has neither NaN nor infinity, so a figure that is not finite is written as null. What a later
version added is passed over, and what an earlier one did not have is empty.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from quantize_lib import __version__
from quantize_lib.command.spec import COMMAND, CommandResult
from quantize_lib.errors import UsageError, code_of
from quantize_lib.files import finite, read_json, write_json, write_text
from quantize_lib.harness.spec import TaskFigure
from quantize_lib.job.records import BuildFigures, text_from_json, text_to_json
from quantize_lib.methods import get_method
from quantize_lib.report.figures import (
    figures_from,
    figures_json,
    flat_figures,
    known,
    plain_json,
    reload_from,
    reload_json,
)
from quantize_lib.report.page import PAGE_FILE, PageHead, report_page
from quantize_lib.report.publish_record import publish_from_json, publish_to_json
from quantize_lib.report.records import CellRecord, Measurements, TextFigures
from quantize_lib.report.verdicts import verdicts_from, verdicts_json
from quantize_lib.source.facts import Terms
from quantize_lib.targets import PublishSpec

REPORT_FILE = "report.json"
_COST = ("size_before", "size_after", "seconds", "peak_memory_bytes")
_ALWAYS_OF_THE_RUN = ("error", "code", "path", "commit", "url")
_OF_THE_RUN = ("status", *_ALWAYS_OF_THE_RUN, "not_chosen")
"""What a checkpoint cannot know of itself."""


def write_report(
    folder: Path,
    records: Iterable[CellRecord],
    *,
    started: datetime,
    finished: datetime,
    command: str,
    versions: Mapping[str, str] | None = None,
    publish: PublishSpec | None = None,
    manifest: Path | None = None,
) -> Path:
    """Write `report.json` into a run's output folder, and `report.html` beside it, the same for people.

    A reader sees the old one or the new one.

    Args:
        started, finished: with a time zone.
        command: the command line that makes the same again.
        versions: of what ran on the host; this tool's own is always there.
        publish: where checkpoints were or would be published, for `publish DIR`.
        manifest: the run's, for the same; None where there is none.

    Raises:
        OSError: where it cannot be written.
    """
    path = folder / REPORT_FILE
    records = tuple(records)
    versions = {"model-quantizer": __version__, **(versions or {})}
    document = {
        "version": 1,
        "started": started.isoformat(timespec="seconds"),
        "finished": finished.isoformat(timespec="seconds"),
        "command": command,
        "versions": versions,
        "publish": None if publish is None else publish_to_json(publish, folder),
        # Relative, so that an output folder can travel together with what is beside it.
        **({} if manifest is None else {"manifest": os.path.relpath(manifest, folder.resolve())}),
        "cells": [record_to_json(record) for record in records],
    }
    write_json(path, document)
    head = PageHead(started=started, finished=finished, command=command, versions=versions)
    write_text(folder / PAGE_FILE, report_page(records, head, folder))
    return path


def read_report(folder: Path) -> tuple[CellRecord, ...]:
    """The records of a run's output folder, in the manifest's order.

    Raises:
        UsageError: where there is no report, or it is not as `schemas/report.schema.json` says.
    """
    return tuple(record_from_json(cell) for cell in _document(folder)["cells"])


def read_publish_spec(folder: Path) -> PublishSpec | None:
    """Where the run published to; None where its report does not say. Names are in the records.

    Raises:
        UsageError: as `read_report`.
    """
    data = _document(folder)["publish"]
    return None if data is None else publish_from_json(data, folder)


def read_manifest_path(folder: Path) -> Path | None:
    """Where the run's manifest lay; None where its report does not say. It need not be there.

    Raises:
        UsageError: as `read_report`.
    """
    path = _document(folder).get("manifest")
    return None if path is None else Path(os.path.normpath(folder.resolve() / path))


def record_to_json(record: CellRecord) -> dict[str, Any]:
    """A cell of the report, as its schema says."""
    measured = record.measurements
    return {
        "id": record.id,
        "model": record.model,
        "revision": record.revision,
        "method": record.method,
        "bits": record.bits,
        "format": record.format,
        "status": record.status,
        "error": record.error,
        "code": None if record.code is None else record.code.value,
        "path": record.path,
        "repository": record.repository,
        **({"part": record.part} if record.part else {}),
        "commit": record.commit,
        "url": record.url,
        **{name: None if measured is None else plain_json(getattr(measured, name)) for name in _COST},
        **flat_figures({} if measured is None else measured.figures),
        "figures": {} if measured is None else figures_json(measured.figures),
        "fingerprint": record.fingerprint,
        "inputs": dict(record.inputs),
        **({"fingerprinted": dict(record.fingerprinted)} if record.fingerprinted else {}),
        "settings": plain_json(record.settings),
        "calibration": None if record.calibration is None else text_to_json(record.calibration),
        "evaluation": None
        if measured is None or measured.evaluation is None
        else text_to_json(measured.evaluation),
        **({"texts": texts} if (texts := _texts_json(measured)) else {}),
        **({"tasks": tasks} if (tasks := _tasks_json(record)) else {}),
        **({"builds": builds} if (builds := _builds_json(measured)) else {}),
        **({} if measured is None or measured.command is None else {COMMAND: asdict(measured.command)}),
        "reload": None if measured is None or measured.reload is None else reload_json(measured.reload),
        "versions": dict(record.versions),
        "files": dict(record.files),
        **({"card_by_hand": True} if record.card_by_hand else {}),
        **({} if record.choice is None else {"choice": record.choice}),
        **({} if record.not_chosen is None else {"not_chosen": record.not_chosen}),
        "notes": list(record.notes),
        **({"layers": layers} if (layers := _layers_json(record)) else {}),
        **({"types": dict(record.types)} if record.types else {}),
        **({"layer_errors": errors} if (errors := _errors_json(record)) else {}),
        **({"kept": {why: list(names) for why, names in record.kept.items()}} if record.kept else {}),
        **({"provenance": dict(record.provenance)} if record.provenance else {}),
        "terms": None if record.terms is None else asdict(record.terms),
        "limits": dict(record.limits),
        **({"verdicts": verdicts_json(record.verdicts)} if record.verdicts else {}),
    }


def _texts_json(measured: Measurements | None) -> dict[str, Any]:
    found = {} if measured is None else measured.texts
    return {
        name: {"evaluation": text_to_json(one.text), "figures": figures_json(one.figures)}
        for name, one in found.items()
    }


def _builds_json(measured: Measurements | None) -> dict[str, Any]:
    return {
        name: {
            "revision": one.revision,
            "size": one.size,
            "figures": figures_json(one.figures),
            "texts": {text: figures_json(figures) for text, figures in one.texts.items()},
            "fault": one.fault,
        }
        for name, one in ({} if measured is None else measured.builds).items()
    }


def _build_from(data: Mapping[str, Any]) -> BuildFigures:
    return BuildFigures(
        revision=data["revision"],
        size=data["size"],
        figures=figures_from(data),
        texts={text: figures_from({"figures": figures}) for text, figures in data["texts"].items()},
        fault=data["fault"],
    )


def _tasks_json(record: CellRecord) -> dict[str, Any]:
    measured = record.measurements
    return {} if measured is None else {name: asdict(task) for name, task in measured.tasks.items()}


def _layers_json(record: CellRecord) -> dict[str, dict[str, int]]:
    return {name: {"bits": bits, "group_size": size} for name, (bits, size) in record.layers.items()}


def _errors_json(record: CellRecord) -> dict[str, float | None]:
    # Three digits say which layers suffer, and a model of experts has ten thousands of layers.
    return {
        name: None if error is None else finite(float(f"{error:.3g}"))
        for name, error in record.layer_errors.items()
    }


def checkpoint_record(record: CellRecord) -> dict[str, Any]:
    """What travels inside a checkpoint: the cell of the report without what only the run knows."""
    return {key: value for key, value in record_to_json(record).items() if key not in _OF_THE_RUN}


def checkpoint_record_from_json(data: Mapping[str, Any]) -> CellRecord:
    """The record that `checkpoint_record` gave; what only the run knows is as if it were published.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: where it does not follow the schema.
    """
    return record_from_json(published_cell(data))


def published_cell(data: Mapping[str, Any]) -> dict[str, Any]:
    """A cell of a report, as its schema says, from what travels inside a checkpoint."""
    return {**data, **dict.fromkeys(_ALWAYS_OF_THE_RUN), "status": "published"}


def record_from_json(data: Mapping[str, Any]) -> CellRecord:
    """The record of a cell of a report that follows the schema."""
    measurements = None
    if data["size_before"] is not None:
        measurements = Measurements(
            **{name: data[name] for name in _COST},
            figures=figures_from(data),
            evaluation=None if data["evaluation"] is None else text_from_json(data["evaluation"]),
            texts={
                name: TextFigures(text=text_from_json(one["evaluation"]), figures=figures_from(one))
                for name, one in data.get("texts", {}).items()
            },
            tasks={name: known(TaskFigure, task) for name, task in data.get("tasks", {}).items()},
            builds={name: _build_from(one) for name, one in data.get("builds", {}).items()},
            command=None if data.get(COMMAND) is None else known(CommandResult, data[COMMAND]),
            reload=None if data["reload"] is None else reload_from(data["reload"]),
        )
    return CellRecord(
        id=data["id"],
        model=data["model"],
        revision=data["revision"],
        method=data["method"],
        bits=data["bits"],
        # A report of an earlier version has only methods' own formats.
        format=data.get("format") or get_method(data["method"]).formats[0],
        settings=data["settings"],
        status=data["status"],
        error=data["error"],
        code=None if data.get("code") is None else code_of(data["code"]),
        path=data["path"],
        repository=data["repository"],
        part=data.get("part", ""),
        commit=data["commit"],
        # A report of an earlier version may lack what is asked for with `get`.
        url=data.get("url"),
        fingerprint=data["fingerprint"],
        inputs=data.get("inputs", {}),
        fingerprinted=data.get("fingerprinted", {}),
        calibration=None if data["calibration"] is None else text_from_json(data["calibration"]),
        measurements=measurements,
        versions=data["versions"],
        files=data["files"],
        card_by_hand=data.get("card_by_hand") is True,
        choice=data.get("choice"),
        not_chosen=data.get("not_chosen"),
        notes=tuple(data["notes"]),
        layers={name: (layer["bits"], layer["group_size"]) for name, layer in data.get("layers", {}).items()},
        types=data.get("types", {}),
        layer_errors=data.get("layer_errors", {}),
        kept={why: tuple(names) for why, names in data.get("kept", {}).items()},
        provenance=data.get("provenance", {}),
        terms=None if data.get("terms") is None else known(Terms, data["terms"]),
        limits=data["limits"],
        verdicts=verdicts_from(data.get("verdicts", ())),
    )


def _document(folder: Path) -> dict[str, Any]:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    from quantize_lib.report.report_schema import report_schema

    path = folder / REPORT_FILE
    try:
        document = read_json(path)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror or error}", hint="Give the output folder of a run."
        ) from error
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    problem = best_match(Draft202012Validator(report_schema()).iter_errors(document))
    if problem is not None:
        raise UsageError(
            f"{path}: {problem.json_path}: {problem.message}",
            hint="Its form is in schemas/report.schema.json.",
        )
    result: dict[str, Any] = document
    return result
