"""The fingerprint: a digest of what determines a cell's output and is known without computing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.effective_settings import hashed_settings
from quantize_lib.files import sha256_json
from quantize_lib.methods import get_method
from quantize_lib.methods.common import MODULES_TO_NOT_CONVERT
from quantize_lib.plan.cells import Cell, Job

FORMAT = 1
"""Raised when the same words begin to mean another output."""
INPUTS: tuple[Literal["base", "settings", "calibration"], ...] = ("base", "settings", "calibration")
_PART = re.compile(r"(sha256:)?[0-9a-f]{16,64}")


def fingerprint(cell: Cell, job: Job, *, model_revision: str, calibration_revision: str) -> str:
    """Hex sha256 of `fingerprinted`.

    Args:
        cell, job, model_revision, calibration_revision: as for `fingerprinted`.
    """
    revisions = {"model_revision": model_revision, "calibration_revision": calibration_revision}
    return sha256_json(fingerprinted(cell, job, **revisions))


def fingerprinted(cell: Cell, job: Job, *, model_revision: str, calibration_revision: str) -> dict[str, Any]:
    """Base model, settings and calibration data, as JSON has them.

    It does not depend on paths, on the cell's name, on the order of cells, on device, publishing or
    evaluation; nor on calibration data where the method does not use any.

    Args:
        cell: the cell.
        job: its job.
        model_revision: 40-hex commit of a Hub model, `sha256:…` of a local folder's content.
        calibration_revision: 40-hex commit of a Hub data set, `sha256:…` of the content of files and texts.
    """
    model = job.model
    calibrated = get_method(cell.settings.method).calibrated
    return {
        "format": FORMAT,
        # A local folder is known by its content, wherever it lies.
        "model": {
            "id": None if model.local else model.id,
            "revision": model_revision,
            "trust_remote_code": model.trust_remote_code,
            "allow_pickle": model.allow_pickle,
        },
        "settings": _settings(cell),
        "calibration": _text(job.calibration, calibration_revision) if calibrated else None,
    }


def inputs(cell: Cell, job: Job, *, model_revision: str, calibration_revision: str) -> dict[str, str]:
    """The parts of a fingerprint, by which a later plan tells what changed.

    Args:
        cell, job, model_revision, calibration_revision: as for `fingerprint`.
    """
    parts = {"base": model_revision, "settings": _short(_settings(cell))}
    if get_method(cell.settings.method).calibrated:
        parts["calibration"] = _short(_text(job.calibration, calibration_revision))
    return parts


def known_inputs(value: object) -> dict[str, str]:
    """Those of `inputs` that somebody's file holds; nothing of what does not look like them."""
    if not isinstance(value, Mapping):
        return {}
    found = {name: value.get(name) for name in INPUTS}
    return {name: part for name, part in found.items() if isinstance(part, str) and _PART.fullmatch(part)}


def choice_digest(fingerprints: Iterable[str], limits: Mapping[str, float]) -> str:
    """Digest of what a choice among cells follows from; it does not depend on their order.

    Args:
        fingerprints: of the cells that took part.
        limits: that they were held to, by their keys in the manifest.
    """
    return _short({"cells": sorted(fingerprints), "limits": dict(limits)})


def known_choice(value: object) -> str | None:
    """A `choice` that somebody's file holds; None where it does not look like one."""
    return value if isinstance(value, str) and _PART.fullmatch(value) else None


def _settings(cell: Cell) -> dict[str, Any]:
    settings = hashed_settings(cell.settings)
    kept = MODULES_TO_NOT_CONVERT.name
    if kept in settings:
        # Which layers stay is a set; which override comes first matters.
        settings[kept] = sorted(set(settings[kept]))
    return settings


def _short(value: Any) -> str:
    # With a prefix, as YAML would read some digests as numbers.
    return f"sha256:{sha256_json(value)[:16]}"


def _text(text: TextSpec, revision: str) -> dict[str, Any]:
    values: dict[str, Any] = {
        "revision": revision,
        "samples": text.samples,
        "sequence_length": text.sequence_length,
        "seed": text.seed,
    }
    if text.mix:
        # Its sources' revisions are in its own.
        return {**values, "mix": [{**_source(source), "samples": source.samples} for source in text.mix]}
    return {**values, **_source(text)}


def _source(text: TextSpec) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if text.dataset is not None:
        values |= {"dataset": text.dataset, "config": text.config, "split": text.split}
    if not text.texts:
        values["column"] = text.column
    if text.chat_template_kwargs:
        values["chat_template_kwargs"] = dict(text.chat_template_kwargs)
    return values
