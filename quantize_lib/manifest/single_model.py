"""The command line's form for one model, as a plan: it is a manifest of one cell.

The same schema and the same checks serve; only the words for the places are those of the command line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from quantize_lib.devices import DeviceName
from quantize_lib.errors import UsageError
from quantize_lib.manifest.build import build
from quantize_lib.manifest.problems import Path as KeyPath
from quantize_lib.manifest.problems import show_path
from quantize_lib.methods import AUTO_FORMAT, DEFAULT_METHOD, METHODS, GroupSize
from quantize_lib.methods.entry import BITS
from quantize_lib.names import absolute, local_folder
from quantize_lib.plan.cells import Plan
from quantize_lib.targets import publish_spec
from quantize_lib.targets.directory import TARGET as DIRECTORY
from quantize_lib.wording import allowed

KNOWN_DATASETS: Mapping[str, Mapping[str, str]] = {
    "c4": {"dataset": "allenai/c4", "config": "en", "split": "train"},
}
"""Short names that guides use for data sets which are called otherwise on the Hub."""

_OPTIONS = {
    "calibration": "--calibration-dataset",
    "method": "--method",
    "bits": "--bits",
    "format": "--format",
    "group_size": "--group-size",
    "desc_act": "--desc-act",
    "sym": "--no-sym",
    "device": "--device",
}


def single_model_plan(
    model: str,
    *,
    method: str = DEFAULT_METHOD,
    bits: int = 8,
    format: str = AUTO_FORMAT,
    output_dir: Path | None = None,
    device: DeviceName = "auto",
    calibration_dataset: str | None = None,
    group_size: GroupSize | None = None,
    desc_act: bool | None = None,
    sym: bool | None = None,
) -> Plan:
    """A plan of one cell; its checkpoint is meant for `plan.publish[PATH] / cell.repository`.

    Args:
        model: Hub id or local folder; paths are relative to the current folder.
        method: one of `METHODS`.
        bits: as the method allows.
        format: one of `FORMATS`, or `auto` for the method's own.
        output_dir: the checkpoint's folder; the cell's id in the current folder where not given.
        device: where to quantize.
        calibration_dataset: a file if it exists, texts at commas if it has a comma or white space, else the
            name of a data set; too little of it is a warning. The manifest's default where not given.
        group_size: as in the manifest; None where not given, as for the next two. A setting that is given
            must be one that the method takes.
        desc_act: as in the manifest.
        sym: as in the manifest.

    Raises:
        UsageError: with everything that is wrong, each with its option.
    """
    here = Path.cwd()
    entry: dict[str, Any] = {"method": method, **_width(method, bits), "device": device}
    if format != AUTO_FORMAT:
        entry["format"] = format
    given = {"group_size": group_size, "desc_act": desc_act, "sym": sym}
    entry |= {key: value for key, value in given.items() if value is not None}
    document: dict[str, Any] = {"id": model, "name": _name(model, here), "quantize": [entry]}
    if calibration_dataset is not None:
        document["calibration"] = _calibration(calibration_dataset)
    plan = build({"version": 1, "models": [document]}, path=None, base=here, place=show_path)
    if isinstance(plan, list):
        raise UsageError("\n".join(f"{_option(path)}: {message}" for path, message, _ in plan))
    (job,) = plan.jobs
    (cell,) = job.cells
    target = absolute(output_dir or cell.id, here)
    if not target.name:
        raise UsageError(f"--output-dir: {target} cannot be a checkpoint's folder.")
    job = replace(
        job,
        calibration=replace(job.calibration, allow_short=True),
        cells=(replace(cell, repository=target.name, part=""),),
    )
    publish = publish_spec(DIRECTORY.name, path=target.parent, name=target.name)
    return replace(plan, jobs=(job,), publish=publish)


def _width(method: str, bits: int) -> dict[str, Any]:
    """The entry's key for so many bits, and its value."""
    rounding = METHODS.get(method)
    if rounding is None:
        return {BITS: bits}
    value = rounding.width_of(bits)
    if value is None:
        raise UsageError(
            f"{_OPTIONS[BITS]}: {bits} is not allowed for {method} ({rounding.bits_note}). "
            f"{allowed(sorted(set(rounding.width_bits.values())))}"
        )
    return {rounding.width_key: value}


def _name(model: str, here: Path) -> str:
    """The model's part of the cell's id, made safe: the command line has no option to give another."""
    try:
        folder = local_folder(model, here)
    except ValueError:
        folder = None  # `build` tells it with its reason.
    name = folder.name if folder else model.rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._]+|-{2,}|\.{2,}", "-", name).strip("-.")[:80] or "model"


def _calibration(text: str) -> dict[str, Any]:
    if text in KNOWN_DATASETS:
        return dict(KNOWN_DATASETS[text])
    try:
        is_file = Path(text).expanduser().is_file()
    except (OSError, RuntimeError):
        is_file = False  # Too long for a path, or `~nobody`.
    if is_file:
        return {"files": [text]}
    if re.search(r"[,\s]", text):
        return {"texts": [part for piece in text.split(",") if (part := piece.strip())]}
    return {"dataset": text}


def _option(path: KeyPath) -> str:
    return next((option for name, option in _OPTIONS.items() if name in path), "MODEL")
