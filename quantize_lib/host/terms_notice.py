"""What a base model's terms mean for its cells: warnings before the work, the notice in the checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from quantize_lib.files import write_text
from quantize_lib.plan.cells import Cell
from quantize_lib.publish.access import access
from quantize_lib.source import name_warning, notice, with_given
from quantize_lib.source.facts import Terms
from quantize_lib.targets import PublishSpec, get_target

NOTICE_FILE = "NOTICE"


def terms_warnings(cell: Cell, terms: Terms, publish: PublishSpec) -> Iterator[str]:
    """What to know before a cell is published: its name's fault, and who will see it."""
    terms = with_given(terms, publish.card)
    if (fault := name_warning(terms, cell.repository)) is not None:
        yield f"{cell.id}: {fault}"
    if get_target(publish.to).is_open and (reason := access(publish, terms).reason) is not None:
        yield f"{cell.id}: {reason}"


def add_notice(checkpoint: Path, terms: Terms) -> bool:
    """Write the notice that the licence wants with every copy, where the base model brings none.

    Returns:
        Whether one was written.
    """
    text = notice(terms)
    if text is None or any(path.name.upper().startswith(NOTICE_FILE) for path in checkpoint.iterdir()):
        return False
    write_text(checkpoint / NOTICE_FILE, text)
    return True
