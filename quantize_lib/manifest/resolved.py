"""A manifest with everything resolved that needs neither network nor model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
class WatchRule:
    """Which models of the Hub a rule finds. What to make of them is in the manifest's data."""

    organization: str | None = None
    collection: str | None = None
    models: tuple[str, ...] = ("*",)
    """Glob patterns on names, or on ids where a pattern has a `/`."""
    exclude: tuple[str, ...] = ()
    limit: int = 1
    """Models with something to build that one run takes on."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A valid manifest.

    Attributes:
        path: absolute path of the file; None for the command line's form for one model.
        models: those that have at least one cell.
        watch: the rules by which more models are found; `expand` adds those.
        warnings: what is allowed but worth a word (experimental bit widths).
        data: what the file says, as plain data.
    """

    path: Path | None
    models: tuple[ManifestModel, ...]
    publish: PublishSpec
    runners: RunnersSpec
    watch: tuple[WatchRule, ...] = ()
    warnings: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
