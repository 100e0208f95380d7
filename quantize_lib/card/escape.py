"""Foreign text where it meets a terminal, Markdown or HTML.

Names, settings, licences, errors and generated text come from manifests and models; none of it may become
markup.
"""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"[\\`*_{}\[\]<>&#|~$!:@\"']")
_FENCE = re.compile(r"`{3,}")


class Safe(str):
    """Text that is Markdown already; the template leaves it as it is."""

    __slots__ = ()


def plain(text: str) -> str:
    """One line without control characters: what a terminal would obey is shown as a space."""
    return "".join(char if char.isprintable() else " " for char in " ".join(text.split()))


def markdown(text: str) -> str:
    """One line that renders as the text itself: no markup, HTML, link, template or table border.

    Character references are text to Markdown and to HTML alike, inside tables too.
    """
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", plain(text))


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
