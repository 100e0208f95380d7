"""The axis of formats: how rounded weights are stored. One entry a file; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

from quantize_lib.errors import SourceError, UsageError
from quantize_lib.formats.context import BlockShape, CheckpointContext, Layer, Misfit
from quantize_lib.formats.entry import Format
from quantize_lib.formats.traits import Traits
from quantize_lib.formats.trial import Trial
from quantize_lib.formats.whole import WholeModel
from quantize_lib.methods import AUTO_FORMAT, Method, Setting, Settings, get_method
from quantize_lib.methods.common import ALLOW_PARTIAL, is_automatic
from quantize_lib.registry import find_entries, get_entry

__all__ = [
    "FORMATS",
    "WEIGHT_FILES",
    "BlockShape",
    "CheckpointContext",
    "Format",
    "Layer",
    "Misfit",
    "Traits",
    "Trial",
    "WholeModel",
    "format_of_config",
    "formats_for",
    "get_format",
    "is_weight_file",
    "named_format",
    "resolve_format",
    "takes",
    "weight_files",
]

FORMATS = cast(Mapping[str, Format], find_entries(__name__, __path__, "FORMAT"))
"""By name, in the order in which they are listed."""

WEIGHT_FILES: tuple[str, ...] = tuple(dict.fromkeys(entry.files for entry in FORMATS.values()))
"""Patterns of the files that checkpoints' weights are in, the usual ones first."""


def weight_files(folder: Path) -> list[Path]:
    """The files of a model's weights: a base model's, or a checkpoint's in whatever format; sorted.

    The first kind that is there counts: beside a model's own weights others may lie.
    """
    found = (sorted(folder.glob(pattern)) for pattern in WEIGHT_FILES)
    return next((files for files in found if files), [])


def is_weight_file(name: str) -> bool:
    """Whether a file of a repository is a part of a model, by its name."""
    return any(fnmatchcase(name, pattern) for pattern in WEIGHT_FILES)


def get_format(name: str) -> Format:
    """The entry of that name; a manifest's or a job's is known to be one.

    Raises:
        KeyError: where there is none.
    """
    return get_entry(FORMATS, name, "format")


def formats_for(method: Method) -> list[Format]:
    """The formats that store what a method gives, its own first."""
    own = get_format(method.formats[0])
    return [own, *(entry for entry in FORMATS.values() if entry is not own and entry.holds(method))]


def named_format(settings: Settings) -> Format:
    """The format that the settings name; for `auto` the method's own, as long as the model is not known."""
    name = settings.format
    return get_format(get_method(settings.method).formats[0] if name == AUTO_FORMAT else name).of(settings)


def resolve_format(settings: Settings, traits: Traits) -> Format:
    """The format of a cell: the one that was asked for, or the method's first that can hold the model.

    Raises:
        UsageError: where the one that was asked for cannot.
        SourceError: where none can.
    """
    asked = settings.format != AUTO_FORMAT
    names = (settings.format,) if asked else get_method(settings.method).formats
    tried = [get_format(name).of(settings) for name in names]
    reasons: dict[str, list[str]] = {}
    for entry in tried:
        reason = (
            entry.refuses(traits)
            or _without_most(settings, traits)
            or _without_experts(entry, settings, traits)
            or _without_mixing(entry, settings, traits)
            or _without_room(entry, settings, traits, asked=asked)
            or (None if asked else entry.yields(traits, settings))
        )
        if reason is None:
            return entry
        reasons.setdefault(reason, []).append(entry.name)
    told = "; ".join(f"{', '.join(entries)}: {reason}" for reason, entries in reasons.items())
    if traits.mostly_kept or any(
        entry.refuses(traits) is None and entry.leaves_experts(traits) is not None for entry in tried
    ):
        hint = f"With {ALLOW_PARTIAL.name}: true they stay in full precision, and the card says so."
    elif asked:
        hint = "Leave `format` out: one that can hold the model is taken then."
    else:
        hint = "Take another method."
    if asked:
        raise UsageError(f"format {told}", hint=hint)
    raise SourceError(f"no format of {settings.method} can hold the model ({told})", hint=hint)


def _without_most(settings: Settings, traits: Traits) -> str | None:
    if not traits.mostly_kept or settings[ALLOW_PARTIAL]:
        return None
    held = f"{traits.kept_share:.0%} of the blocks' weights are in no linear layer"
    return f"{held} and would stay in full precision"


def _without_experts(entry: Format, settings: Settings, traits: Traits) -> str | None:
    reason = entry.leaves_experts(traits)
    if reason is None or settings[ALLOW_PARTIAL]:
        return None
    return f"{reason}, and {traits.expert_share:.0%} of the layers' weights would stay in full precision"


def _without_mixing(entry: Format, settings: Settings, traits: Traits) -> str | None:
    return entry.alike(traits) if is_automatic(settings) else None


def _without_room(entry: Format, settings: Settings, traits: Traits, *, asked: bool) -> str | None:
    lack = entry.lacks(traits, settings.bits)
    if lack is not None:
        return lack
    # Where the format was asked for, the layer is named later, and may be left out.
    misfit = None if asked else entry.first_misfit(traits.sizes, settings.bits)
    if misfit is None:
        return None
    return f"an {misfit.side} of {misfit.size} cannot be packed, as {misfit.reason}"


def format_of_config(quantization: Mapping[str, Any]) -> Format | None:
    """The format of a checkpoint by its `quantization_config`; None for a model that has none of ours."""
    found = (entry for entry in FORMATS.values() if entry.quant_method == quantization.get("quant_method"))
    entry = next(found, None)
    return None if entry is None else entry.reading(quantization)


def takes(settings: Settings, setting: Setting[Any]) -> bool:
    """Whether a setting means something to the cell's method at its bits, and can be more than one value."""
    entry = named_format(settings)
    return get_method(settings.method).takes(setting, settings.bits) and not (
        setting.name in entry.fixed and entry.fixed[setting.name][0] == setting.default
    )
