"""Foreign text as pieces of Markdown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from quantize_lib.text import markdown

if TYPE_CHECKING:
    from jinja2 import Template

_FENCE = re.compile(r"`{3,}")


class Safe(str):
    """Text that is Markdown already; the template leaves it as it is."""

    __slots__ = ()


def template(path: Path) -> Template:
    """A template of Markdown, in which every value is foreign until it says otherwise (`Safe`)."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, Safe) else markdown(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return environment.from_string(path.read_text(encoding="utf-8"))


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
