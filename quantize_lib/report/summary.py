"""The run's result in Markdown, for the step summary of a workflow, which shows neither files nor images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from quantize_lib.metrics import Metric
from quantize_lib.report.comparison import (
    best_cells,
    best_rule,
    by_model,
    leading_metric,
    proven_figures,
    short_labels,
)
from quantize_lib.report.records import CellRecord
from quantize_lib.report.tables import HEADS, row, short
from quantize_lib.report.task_table import task_table
from quantize_lib.text import format_bytes, markdown

_MAX_BYTES = 2**20
"""What GitHub takes of a step summary; it drops a larger one whole."""
_CUT = "\n\n… and more in `report.json`: a step summary holds at most 1 MiB.\n"
_MOST_CHARTS = 10
_IN_CHARTS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ._-")
"""What a label of a Mermaid chart may hold; quotes and brackets would end it."""


def summary_markdown(records: Iterable[CellRecord]) -> str:
    """One table of all cells by model and size, what failed and what to do, charts, and settings, folded.

    Escaped, and at most 1 MiB of UTF-8.
    """
    models = by_model(records)
    cells = [record for found in models.values() for record in found]
    leading = leading_metric(cells)
    best = best_cells(cells, leading)
    lines = ["| " + " | ".join(HEADS) + " |", "| --- | --- |" + " ---: |" * (len(HEADS) - 2)]
    lines += ["| " + " | ".join(_linked(record, record.id in best)) + " |" for record in cells]
    if leading is not None and best:
        lines += ["", f"**best**: {best_rule(leading)}"]
    if said := [_remark(record.id, record.remark) for record in cells if record.remark is not None]:
        lines += ["", *said]
    text = "\n".join(lines) + "\n"
    charts = () if leading is None else _charts(models, leading)
    for part in (*_tested(models), *charts, _settings(cells)):
        # Whole or not at all: a fence or a fold that was cut would take in what follows.
        if len((text + part).encode()) <= _MAX_BYTES:
            text += part
    return _limited(text)


def _linked(record: CellRecord, best: bool) -> list[str]:
    """The row in Markdown; its status leads to what is published."""
    cells = [markdown(cell) for cell in row(record)]
    if best:
        cells[0] += " **best**"
    if record.url is not None:
        cells[1] = f"[{cells[1]}]({record.url})"
    return cells


def _remark(name: str, remark: tuple[str, str]) -> str:
    what, fix = remark
    said = f"- **{markdown(name)}**: {markdown(short(what))}"
    return f"{said} **What to do:** {markdown(short(fix))}" if fix else said


def _tested(models: Mapping[str, Sequence[CellRecord]]) -> Iterator[str]:
    """What tasks and tests measured, a table for each model."""
    for model, cells in models.items():
        if (found := task_table(cells)) is not None:
            rows = ((f"{model}: tasks and tests", *found.heads), *found.rows)
            first, *rest = ("| " + " | ".join(map(markdown, one)) + " |" for one in rows)
            yield "\n" + "\n".join([first, "| --- |" + " ---: |" * len(found.heads), *rest]) + "\n"


def _charts(models: Mapping[str, Sequence[CellRecord]], metric: Metric) -> Iterator[str]:
    """Quality against size of each model that has several cells, the smallest first."""
    drawn = 0
    for model, cells in models.items():
        shown = [record for record in cells if metric.name in proven_figures(record)]
        if len(shown) < 2 or drawn == _MOST_CHARTS:
            continue
        drawn += 1
        labels = short_labels(shown)
        names = ", ".join(f'"{_label(record, labels[record.id])}"' for record in shown)
        values = ", ".join(f"{proven_figures(record)[metric.name]:.6f}" for record in shown)
        yield (
            f"\n**{markdown(model)}**: {metric.title}, {metric.unit}, from the smallest to the largest\n\n"
            f"```mermaid\nxychart-beta\n  x-axis [{names}]\n"
            f'  y-axis "{metric.title}, {metric.unit}"\n  bar [{values}]\n```\n'
        )


def _label(record: CellRecord, name: str) -> str:
    assert record.measurements is not None
    text = f"{name} {format_bytes(record.measurements.size_after)}"
    return "".join(char if char in _IN_CHARTS else "_" for char in text)


def _settings(cells: Iterable[CellRecord]) -> str:
    rows = "".join(
        f"| {markdown(record.id)} | {markdown(record.format)} | {_words(record.settings)} |\n"
        for record in cells
    )
    return (
        "\n<details>\n<summary>Settings as resolved</summary>\n\n"
        f"| id | format | settings |\n| --- | --- | --- |\n{rows}\n</details>\n"
    )


def _words(settings: Mapping[str, object]) -> str:
    said = (f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in settings.items())
    return markdown("; ".join(said))


def _limited(text: str) -> str:
    data = text.encode()
    if len(data) <= _MAX_BYTES:
        return text
    room = _MAX_BYTES - len(_CUT.encode())
    # At a line's end, so that no escape or table row is cut in two.
    return data[: data.rindex(b"\n", 0, room)].decode() + _CUT
