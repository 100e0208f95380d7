"""The card of a repository that holds several checkpoints of a model: a table of all, and how to load each.

It is made of their own reports and of the front matter of the one that was published last: whoever adds a
part needs no file of the others but those.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from quantize_lib.card.escape import Safe, code, code_block, template
from quantize_lib.card.front import metadata_of, with_metadata
from quantize_lib.card.state import PARTS_KEY, STATE_KEY
from quantize_lib.formats import FORMATS, is_weight_file
from quantize_lib.job.records import TextRecord
from quantize_lib.metrics.uncertain import cell_with_error
from quantize_lib.names import repository_fault
from quantize_lib.plan.fingerprint import known_choice, known_inputs
from quantize_lib.report import checkpoint_record_from_json
from quantize_lib.report.comparison import best_cells, best_rule, leading_metric, proven_figures
from quantize_lib.report.records import CARD_FILE, CellRecord
from quantize_lib.report.tables import SHOWN
from quantize_lib.source import display
from quantize_lib.text import format_bytes, markdown, plain

_TEMPLATE = Path(__file__).with_name("shared.md.j2")
_OF_ONE = re.compile(r"\d+-bit|mixed-bits")
"""A tag that says the width of one part."""
_PROMPT = "The capital of France is"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A checkpoint in a repository of several.

    Attributes:
        name: of the part.
        record: its own report, as it is in the repository: nothing of it is trusted.
        rejected: fingerprints of the part that were taken back, oldest first.
    """

    name: str
    record: Mapping[str, Any]
    rejected: tuple[str, ...] = ()

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the files of its weights."""
        files = self.record.get("files")
        return tuple(sorted(filter(is_weight_file, files))) if isinstance(files, Mapping) else ()

    @property
    def cell(self) -> CellRecord | None:
        """What its report says; None where this version does not read it."""
        try:
            return checkpoint_record_from_json(self.record)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    @property
    def state(self) -> dict[str, Any]:
        """What the card says of it for this tool's next run."""
        versions, choice = self.record.get("versions"), known_choice(self.record.get("choice"))
        version = versions.get("model-quantizer") if isinstance(versions, Mapping) else None
        return {
            "fingerprint": str(self.record.get("fingerprint")),
            **({"version": plain(version)} if isinstance(version, str) else {}),
            **known_inputs(self.record.get("inputs")),
            **({} if choice is None else {"choice": choice}),
            **({"rejected": list(self.rejected)} if self.rejected else {}),
            "weights": list(self.weights),
        }


def shared_card(repository: str, parts: Sequence[Part], card: str) -> str:
    """The card at the top of a repository.

    Args:
        repository: `namespace/name`, or `name`.
        parts: all that it holds, in any order.
        card: of the one that is published; the front matter is taken from it.

    Raises:
        PublishError: where its front matter cannot be read.
    """
    cells = {part.name: cell for part in parts if (cell := part.cell) is not None}
    ordered = sorted(parts, key=lambda part: (_size(cells.get(part.name)), part.name))
    records = list(cells.values())
    leading = leading_metric(records)
    measured = [metric for metric in SHOWN if any(metric.name in proven_figures(one) for one in records)]
    best = best_cells(records, leading)
    rows = []
    for part in ordered:
        cell = cells.get(part.name)
        own = None if cell is None else cell.measurements
        proven = {} if cell is None else proven_figures(cell)
        marked = cell is not None and cell.id in best
        figures = (
            cell_with_error(metric, own.figure(metric)) if own is not None and metric.name in proven else ""
            for metric in measured
        )
        rows.append(
            (
                Safe(f"{code(part.name)} (best)" if marked else code(part.name)),
                Safe("<br>".join(map(code, part.weights))),
                "" if own is None else format_bytes(own.size_after),
                *figures,
                Safe(f"[card]({quote(part.name)}/{CARD_FILE})"),
            )
        )
    data = metadata_of(card)
    body = template(_TEMPLATE).render(
        title=repository.rpartition("/")[2],
        base=_base(data.get("base_model")),
        heads=[metric.title for metric in measured],
        rows=rows,
        revisions=len({cell.revision for cell in records}) > 1,
        texts=len({of.tokens_digest for cell in records if (of := _text(cell)) is not None}) > 1,
        rule=None if leading is None else best_rule(leading),
        loads=_loads(repository, [cells[part.name] for part in ordered if part.name in cells], ordered),
        display=next((text for cell in records if cell.terms and (text := display(cell.terms))), None),
        code=code,
        code_block=code_block,
    )
    states = {part.name: part.state for part in sorted(parts, key=lambda part: part.name)}
    values: dict[str, Any] = {"model-index": None, STATE_KEY: {PARTS_KEY: states}}
    if isinstance(tags := data.get("tags"), list):
        values["tags"] = [tag for tag in tags if not _OF_ONE.fullmatch(str(tag))]
    front = with_metadata(card, values)
    end = front.index("\n---\n", 1) + len("\n---\n")
    return f"{front[:end]}\n{body}"


def _base(name: object) -> Safe | None:
    """The base model, linked; None for a folder of somebody's, which is nobody else's business."""
    if not isinstance(name, str) or repository_fault(name) is not None:
        return None
    return Safe(f"[{markdown(name)}](https://huggingface.co/{name})")


def _text(cell: CellRecord) -> TextRecord | None:
    return None if cell.measurements is None else cell.measurements.evaluation


def _size(cell: CellRecord | None) -> int:
    return 0 if cell is None or cell.measurements is None else cell.measurements.size_after


def _loads(repository: str, cells: Sequence[CellRecord], parts: Sequence[Part]) -> list[tuple[Safe, str]]:
    """How programs load them: a link, and shell lines."""
    files = {part.name: part.weights[0] for part in parts if part.weights}
    return [
        (Safe(link), lines)
        for name in dict.fromkeys(cell.format for cell in cells)
        if (entry := FORMATS.get(name)) is not None
        for link, lines in entry.parts_loaded(repository, files, _PROMPT)
    ]
