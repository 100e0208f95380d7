"""A manifest with everything resolved that needs neither network nor model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quantize_lib.types import Cell, DeviceName, EvaluateSpec, ModelSpec, PublishSpec, RunnersSpec, TextSpec


@dataclass(frozen=True, kw_only=True)
class ManifestCell:
    """A cell with the device that the manifest names for it; `auto` where it names none."""

    cell: Cell
    device: DeviceName


@dataclass(frozen=True, kw_only=True)
class ManifestModel:
    """A base model and what to make of it."""

    spec: ModelSpec
    calibration: TextSpec
    evaluate: EvaluateSpec
    cells: tuple[ManifestCell, ...]
    """What include and exclude left, in the manifest's order."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A valid manifest.

    Attributes:
        path: absolute path of the file; None for the command line's form for one model.
        models: those that have at least one cell.
        warnings: what is allowed but worth a word (experimental bit widths).
    """

    path: Path | None
    models: tuple[ManifestModel, ...]
    publish: PublishSpec
    runners: RunnersSpec
    warnings: tuple[str, ...] = ()
