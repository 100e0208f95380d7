"""`families`: what would be quantized of a model and what not, and why."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator

from quantize_lib.architecture.blocks import INDEX, of_all_blocks
from quantize_lib.errors import ExitCode, QuantizerError
from quantize_lib.reporting import Reporter
from quantize_lib.source.facts import ModelFacts
from quantize_lib.text import plain


def show_families(options: argparse.Namespace, reporter: Reporter) -> int:
    """Show a model's parts, or what came of every type; no weights are read.

    Raises:
        QuantizerError: where the model cannot be read or quantized.
    """
    from quantize_lib.manifest.single_model import single_model_plan
    from quantize_lib.source import inspect

    if options.model is None:
        print("\n".join(_types()))
        return ExitCode.OK
    (job,) = single_model_plan(options.model).jobs
    facts = inspect(job.model, token=None, reporter=reporter)
    for line in describe(facts):
        print(line)
    return ExitCode.OK


def _types() -> Iterator[str]:
    from quantize_lib.architecture.outcomes import PARTIAL, outcomes

    found = list(outcomes())
    heads = ("Type", *found[0].formats)
    yield from (line[2:] for line in _columns([heads, *((o.name, *o.formats.values()) for o in found)]))
    yield ""
    yield (
        f"The format in which `auto` stores a model of each type; {PARTIAL} with allow_partial alone. Types "
        "that are not here go by structure, too: `families MODEL` shows what would be done, and why not."
    )


def describe(facts: ModelFacts) -> Iterator[str]:
    """The lines that tell of a model's blocks and layers, those of all blocks and experts once."""
    from quantize_lib.architecture.families import named

    blocks = len({_block(layer.name) for layer in facts.layers})
    mixture = ", a mixture of experts" if facts.experts else ""
    lists = f" in {', '.join(facts.blocks)}" if any(facts.blocks) else ""
    yield plain(f"{named(facts.config)}: {blocks} blocks{lists}{mixture}")
    yield ""
    yield "Quantized:"
    layers = Counter(
        (of_all_blocks(layer.name), layer.in_features, layer.out_features) for layer in facts.layers
    )
    yield from _columns(
        (str(count), "×", plain(name), f"{inputs} → {outputs}")
        for (name, inputs, outputs), count in layers.items()
    )
    kept = Counter((of_all_blocks(name), reason) for name, reason in facts.kept.items())
    if kept:
        yield ""
        yield "Kept in full precision:"
        yield from _columns(
            (str(count), "×", plain(name), reason) for (name, reason), count in sorted(kept.items())
        )
    yield ""
    yield "Methods:"
    yield from _columns((name, result) for name, result in _methods(facts))
    if facts.notes:
        yield ""
        yield from (plain(note) + "." for note in facts.notes)


def _methods(facts: ModelFacts) -> Iterator[tuple[str, str]]:
    """Each method with the format that `auto` takes, or why it cannot be used."""
    from quantize_lib.architecture.assignment import format_of
    from quantize_lib.architecture.group_sizes import resolve_group_size
    from quantize_lib.methods import METHODS, Settings

    for method in METHODS.values():
        settings = Settings(method=method.name, bits=4 if 4 in method.bits else method.bits[0])
        try:
            size = resolve_group_size(facts, settings)
            groups = f", group size {size}" if size > 0 else ""
            yield method.name, f"format {format_of(facts, settings).name}{groups}"
        except QuantizerError as error:
            yield method.name, f"refused: {plain(error.message)}"


def _block(name: str) -> str:
    found = INDEX.search(name)
    return name if found is None else name[: found.end()]


def _columns(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    listed = list(rows)
    widths = [max(len(row[column]) for row in listed) for column in range(len(listed[0]))]
    for row in listed:
        cells = (
            text.rjust(width) if text.isdecimal() else text.ljust(width)
            for text, width in zip(row, widths, strict=True)
        )
        yield ("  " + " ".join(cells)).rstrip()
