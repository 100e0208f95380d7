"""The types of models, with what a tiny model of each came to."""

from __future__ import annotations

from quantize_lib.architecture.outcomes import outcomes
from tools.docs.markdown import code, table


def tables() -> dict[str, str]:
    """`families`: each type with the format in which each method stores it, or why not."""
    found = list(outcomes())
    rows = ([code(one.name), *one.formats.values(), one.why] for one in found)
    return {"families": table(("Type", *found[0].formats, "What is refused, and why"), rows)}
