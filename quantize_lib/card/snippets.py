"""How to load a checkpoint: snippets that run as they stand."""

from __future__ import annotations

from dataclasses import dataclass

from quantize_lib.formats import get_format
from quantize_lib.formats.usage import Usage
from quantize_lib.methods import get_method
from quantize_lib.plan.cells import Cell
from quantize_lib.report.records import CellRecord


@dataclass(frozen=True, kw_only=True)
class Snippets:
    """What to type.

    Attributes:
        install: shell lines.
        python: loads the model and generates.
        loader: which library the snippet loads through.
        vllm: a shell line.
    """

    install: str
    python: str
    loader: str
    vllm: str


def snippets(record: CellRecord, cell: Cell, *, prompt: str) -> Snippets:
    """The snippets for one checkpoint."""
    chosen, method = get_format(record.format), get_method(record.method)
    return Snippets(
        **chosen.usage(
            Usage(
                repository=cell.repository,
                prompt=prompt,
                settings=cell.settings,
                bits=record.bits,
                symmetric=chosen.grid(method, cell.settings).symmetric,
                group_size=record.settings.get("group_size"),
                versions=record.versions,
            )
        )
    )
