"""Renders a cell's model card."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from quantize_lib.architecture.assignment import traits_of
from quantize_lib.card.beside import beside
from quantize_lib.card.escape import Safe, code, code_block, template
from quantize_lib.card.figures import (
    all_words,
    figures,
    further_figures,
    has_errors,
    measured_words,
    unrounded_words,
)
from quantize_lib.card.layers import layers_table
from quantize_lib.card.metadata import base_model_id, metadata
from quantize_lib.card.remake import manifest_of
from quantize_lib.card.snippets import snippets
from quantize_lib.card.tasks import command_rows, task_rows
from quantize_lib.card.text_words import more_of
from quantize_lib.formats import get_format
from quantize_lib.methods import SETTINGS, get_method
from quantize_lib.methods.common import EFFORT, FAST
from quantize_lib.plan.cells import Cell, Job
from quantize_lib.report.other_builds import RULE
from quantize_lib.report.records import PICTURE_FILE, CellRecord
from quantize_lib.source import display
from quantize_lib.source.facts import ModelSource
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.tasks import task_of
from quantize_lib.text import format_bytes, markdown
from quantize_lib.wording import joined

_TEMPLATE = Path(__file__).with_name("card.md.j2")
_ALLOWANCE = 1.2
"""Times the weights, for a loader that keeps them packed and a short text: nobody measured it."""
_ADDRESS = re.compile(r"https://[\w.-]+/[\w./-]+", re.ASCII)
_PROMPT = "The capital of France is"


def render_card(
    record: CellRecord,
    *,
    source: ModelSource,
    cell: Cell,
    job: Job,
    command: str,
    given: Mapping[str, Any] | None = None,
    siblings: Sequence[CellRecord] = (),
    picture: bool = False,
) -> str:
    """The model card of a checkpoint: front matter and Markdown.

    Args:
        record: what was made and measured.
        source: the base model; licence, language and pipeline come from its card, or are left out.
        cell: for the settings as the manifest wrote them.
        job: for the base model and the device.
        command: the command line that makes the same again.
        given: the manifest's `publish.card`.
        siblings: the other cells of its model, with the addresses of those that are published.
        picture: whether `quality_beside` of them lies beside the card.
    """
    from huggingface_hub import ModelCard

    given = given or {}
    data = metadata(record, source, job.model, given)
    values = _values(record, source, cell, job, command, data)
    values |= {"given": "license" in given, "beside": beside(record, siblings), "by_others": Safe(RULE)}
    values |= {"picture": PICTURE_FILE if picture else None}
    body = template(_TEMPLATE).render(values)
    # Read back by the Hub's own client: what it would not understand must not be written.
    return str(ModelCard(f"{_front(data)}\n{body}"))


def front_matter(record: CellRecord, source: ModelSource, model: ModelSpec, given: Mapping[str, Any]) -> str:
    """A card's metadata alone, between its two `---` lines; the arguments are those of `render_card`."""
    return _front(metadata(record, source, model, given))


def _front(data: Mapping[str, Any]) -> str:
    from huggingface_hub import ModelCardData

    return f"---\n{ModelCardData(**data).to_yaml()}\n---\n"


def _values(
    record: CellRecord, source: ModelSource, cell: Cell, job: Job, command: str, data: Mapping[str, Any]
) -> dict[str, Any]:
    measured = record.measurements
    reload = None if measured is None else measured.reload
    proven = measured is not None and measured.proven
    evaluation = measured.evaluation if measured is not None and proven else None
    calibrated = get_method(record.method).calibrated
    return {
        "record": record,
        "title": record.shown.rpartition("/")[2],
        "base": _base(job),
        "revision": None if record.revision is None else code(record.revision),
        "method": get_method(record.method).title,
        "figures": figures(record),
        "evaluation": evaluation,
        "tasks": task_rows(record),
        "tested": command_rows(record),
        "errors": measured is not None and has_errors(measured),
        "texts": further_figures(measured) if measured is not None and proven else (),
        "verdicts": record.verdicts if proven else (),
        "measured": "" if measured is None else measured_words(measured),
        "metrics": all_words(),
        "unproven": measured is not None and measured.evaluation is not None and not proven,
        "unrounded": unrounded_words(measured) if measured is not None and proven else None,
        "reload": reload,
        "snippets": snippets(
            record,
            cell,
            source.facts,
            model=job.model,
            prompt=_PROMPT if reload is None else reload.prompt,
        ),
        "task": task_of(source.facts.config),
        "settings": _settings(record, cell),
        "remark": _remark(record, cell),
        "layers": layers_table(record) if record.by_layer else None,
        "calibrated": calibrated,
        "calibration": record.calibration if calibrated else None,
        "versions": sorted(record.versions.items()),
        "provenance": _provenance(record),
        "kept": _kept(record, cell),
        "weights": None if measured is None else format_bytes(measured.size_after),
        "peak": None if reload is None else format_bytes(reload.peak_memory_bytes),
        "needed": None if measured is None else format_bytes(measured.size_after * _ALLOWANCE),
        "command": command,
        "manifest": manifest_of(record, cell, job),
        "notes": record.notes,
        "limits": _limits(record, source, cell),
        "license": _license(data),
        "display": None if record.terms is None else display(record.terms),
        "closed": record.terms is not None and (record.terms.gated is not None or record.terms.private),
        "code": code,
        "more_of": more_of,
        "code_block": code_block,
    }


def _base(job: Job) -> Safe:
    """The base model's name, linked where it is on the Hub."""
    hub_id = base_model_id(job.model)
    if hub_id is None:
        return code(job.model.name)
    return Safe(f"[{markdown(hub_id)}](https://huggingface.co/{hub_id})")


def _settings(record: CellRecord, cell: Cell) -> list[tuple[str, str]]:
    """The resolved settings in words, unknown ones by their own names."""
    rows = []
    for name, value in record.settings.items():
        if value is None or value == []:
            continue
        words = _words(value)
        if record.by_layer and name in ("bits", "group_size"):
            words = "by tensor" if record.types else "by layer"
        elif name == "group_size":
            words = "one group per row" if value == -1 else words
            words += " (chosen automatically)" if cell.settings.group_size == "auto" else ""
        rows.append((_label(name), words))
    return rows


def _remark(record: CellRecord, cell: Cell) -> str | None:
    # A record of a version without the setting was made without what it says.
    before = {} if EFFORT.name in record.settings else {EFFORT.name: FAST}
    made = replace(cell.settings, own={**cell.settings.own, **before})
    text = get_method(record.method).remark(made)
    return None if text is None else Safe(text)


def _label(name: str) -> str:
    """How the card calls a setting; an unknown one, of another version, by its own name."""
    if name in SETTINGS:
        return Safe(SETTINGS[name].label)
    return Safe(name) if name in ("method", "bits", "format") else name


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "; ".join(map(_words, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(item)}" for key, item in value.items())
    return str(value)


def _limits(record: CellRecord, source: ModelSource, cell: Cell) -> list[str]:
    entry, traits = get_format(record.format).of(cell.settings), traits_of(source.facts, cell.settings)
    limits: list[str] = [Safe(text) for text in (entry.limit, *entry.cautions(cell.settings, traits))]
    evaluation = None if record.measurements is None else record.measurements.evaluation
    if evaluation is not None and record.calibration is not None and get_method(record.method).calibrated:
        used, measured = (
            {(part.source, part.revision) for part in text.parts or (text,)}
            for text in (record.calibration, evaluation)
        )
        if used & measured:
            limits.append("It was measured on the text that it was calibrated on, so the figures flatter it.")
    if evaluation is not None and record.measurements is not None and get_method(record.method).calibrated:
        named = {"": evaluation, **{name: one.text for name, one in record.measurements.texts.items()}}
        for name, text in named.items():
            if text.seen is not None:
                limits.append(f"Of the text {name or text.source}, {text.seen}.")
    widths = {record.bits} if not record.layers else {bits for bits, _ in record.layers.values()}
    experimental = get_format(record.format).experimental(get_method(record.method))
    few = [str(bits) for bits in experimental if bits in widths]
    if few:
        limits.append(f"{joined(few)} bits are experimental: not every loader has a kernel for them.")
    if record.measurements is not None and record.measurements.reload is not None:
        limits.append(
            "It was loaded here as described above; other devices and other versions were not tried with it."
        )
    return limits


def _kept(record: CellRecord, cell: Cell) -> list[str]:
    """What stays in full precision, and why."""
    kept: list[str] = [Safe(get_format(record.format).of(cell.settings).stays)]
    kept += [
        Safe(f"{markdown(reason)}, by the model's structure: {', '.join(map(code, names))}")
        for reason, names in record.kept.items()
    ]
    if patterns := cell.settings.modules_to_not_convert:
        kept.append(Safe(f"what the manifest names: {', '.join(map(code, patterns))}"))
    return kept


def _provenance(record: CellRecord) -> list[tuple[str, str]]:
    """Where it was made, an address as a link."""
    image, run = record.provenance.get("image"), record.provenance.get("workflow_run")
    found: list[tuple[str, str]] = [] if image is None else [("in the container image", code(image))]
    if run is not None and _ADDRESS.fullmatch(run):
        found.append(("by the workflow run", Safe(f"<{run}>")))
    return found


def _license(data: Mapping[str, Any]) -> str | None:
    """The licence in words; `other` says its name."""
    stated = data.get("license")
    if stated is None:
        return None
    words = ", ".join(stated) if isinstance(stated, list) else str(stated)
    return f"{words} ({data['license_name']})" if "license_name" in data else words
