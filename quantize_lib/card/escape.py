"""Foreign text as pieces of Markdown."""

from __future__ import annotations

import re

from quantize_lib.text import markdown

_FENCE = re.compile(r"`{3,}")


class Safe(str):
    """Text that is Markdown already; the template leaves it as it is."""

    __slots__ = ()


def code(text: str) -> Safe:
    """Inline code that holds any text; backticks would end a code span, and pipes a table's cell."""
    return Safe(f"<code>{markdown(text)}</code>")


def code_block(text: str, language: str = "") -> Safe:
    """A fenced block whose fence the text cannot close."""
    longest = max((len(run) for run in _FENCE.findall(text)), default=2)
    fence = "`" * (longest + 1)
    lines = "\n".join(
        "".join(char if char.isprintable() else " " for char in line) for line in text.splitlines()
    )
    return Safe(f"{fence}{language}\n{lines}\n{fence}")
