"""Calibration and evaluation text as the manifest names it, with its files found."""

from __future__ import annotations

import glob
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

from quantize_lib.calibration.text_spec import TextSpec
from quantize_lib.manifest.mix_words import SOURCE_KEYS, SOURCES
from quantize_lib.manifest.problems import Path as KeyPath
from quantize_lib.manifest.schema import defaults_of, definition
from quantize_lib.names import absolute, repository_fault
from quantize_lib.wording import SHOWN_PATH, show

MAX_FILES = 10_000
MIX = "mix"

Report = Callable[[KeyPath, str], object]
"""Says that something is wrong at a path."""


def default_calibration() -> dict[str, Any]:
    """The text that is used where the manifest names none."""
    default: dict[str, Any] = definition("defaults")["properties"]["calibration"]["default"]
    return dict(default)


def merge_text(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` before `below`, key by key, but a text source is replaced as a whole."""
    if any(source in above for source in (*SOURCES, MIX)):
        below = {key: value for key, value in below.items() if key not in (*SOURCE_KEYS, MIX)}
    return {**below, **above}


def check_text(text: Mapping[str, Any], path: KeyPath, base: Path, report: Report) -> None:
    """Report a data set that cannot be one, and file patterns that match nothing."""
    for index, source in enumerate(text.get(MIX, ())):
        check_text(source, (*path, MIX, index), base, report)
    if "dataset" in text and (fault := repository_fault(text["dataset"])):
        report((*path, "dataset"), f"{show(text['dataset'])} is not the id of a data set: {fault}.")
    for index, pattern in enumerate(text.get("files", ())):
        found = find_files(pattern, base)
        if not found:
            where = show(str(base), limit=SHOWN_PATH)
            report((*path, "files", index), f"no file matches {show(pattern)} in {where}.")
        elif len(found) > MAX_FILES:
            report((*path, "files", index), f"{show(pattern)} matches more than {MAX_FILES} files.")


def text_spec(text: Mapping[str, Any], base: Path) -> TextSpec:
    """A checked text with defaults filled in and files found; the sources of a mix with their samples."""
    values = {**defaults_of("text"), **text}
    mix = values.pop(MIX, ())
    if mix:
        amount = {key: values[key] for key in ("sequence_length", "seed")}
        sources = [
            text_spec({**_without_weight(source), **amount, "samples": samples}, base)
            for source, samples in zip(mix, shares(mix, values["samples"]), strict=True)
        ]
        return TextSpec(mix=tuple(sources), samples=values["samples"], **amount)
    files = [file for pattern in values.pop("files", ()) for file in find_files(pattern, base)]
    texts = tuple(values.pop("texts", ()))
    kwargs = tuple(sorted(values.pop("chat_template_kwargs", {}).items()))
    return TextSpec(**values, chat_template_kwargs=kwargs, files=tuple(dict.fromkeys(files)), texts=texts)


def shares(mix: Sequence[Mapping[str, Any]], samples: int) -> list[int]:
    """How many of `samples` each source of a mix gets, by its weight; they add up (largest remainder).

    Of equal remainders the earlier source's goes first.
    """
    # As written, so that 0.1 is a tenth.
    weights = [Fraction(str(source.get("weight", _default_weight()))) for source in mix]
    exact = [samples * weight / sum(weights) for weight in weights]
    whole = [int(share) for share in exact]
    by_remainder = sorted(range(len(mix)), key=lambda index: whole[index] - exact[index])
    for index in by_remainder[: samples - sum(whole)]:
        whole[index] += 1
    return whole


def check_shares(text: Mapping[str, Any], path: KeyPath, report: Report) -> None:
    """Report sources of a mix that would get no sample.

    Args:
        text: with everything that is merged into it.
        path: of where the mix is written.
    """
    mix = text.get(MIX, ())
    samples = text.get("samples", defaults_of("text")["samples"])
    for index, share in enumerate(shares(mix, samples) if mix else ()):
        if share == 0:
            report(
                (*path, MIX, index),
                f"none of the {samples} samples is left for it; ask for more samples, or raise its weight.",
            )


def _default_weight() -> float:
    weight: float = defaults_of("mixed_text")["weight"]
    return weight


def _without_weight(source: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in source.items() if key != "weight"}


def find_files(pattern: str, base: Path) -> list[Path]:
    """The files that a pattern names, absolute and sorted; one more than `MAX_FILES` at most."""
    try:
        # A file may be called `a[1].txt`: what exists as written is meant as written.
        if (written := absolute(pattern, base)).is_file():
            return [written]
        # `base` itself is no pattern, whatever characters it has; Path.glob takes no absolute ones.
        found = glob.iglob(pattern, root_dir=base, recursive=True)  # noqa: PTH207
        files = (path for name in found if (path := absolute(name, base)).is_file())
        return sorted(islice(files, MAX_FILES + 1))
    except OSError:
        return []
