"""The repository's documents: their pages, headings, links and examples."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INDEX = ROOT / "docs" / "README.md"
CARDS = ROOT / "docs" / "examples" / "cards"
"""Cards of checkpoints, which are no pages of ours."""
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.parent != CARDS),
]

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


@dataclass(frozen=True)
class Example:
    """A fenced block.

    Attributes:
        page: the document that it stands in.
        line: the line of that document on which it begins.
        language: the word after the fence; empty where there is none.
        text: its lines, without the indentation that a list gives them.
    """

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def examples(language: str | None = None) -> list[Example]:
    """The fenced blocks of all pages, or those in one language."""
    found = [example for page in PAGES for example in _examples(page)]
    return found if language is None else [example for example in found if example.language == language]


def links(page: Path) -> list[str]:
    """Where the page's links lead within the repository: `path`, `path#anchor` or `#anchor`."""
    return [link for link in _LINK.findall(_prose(page)) if not re.match(r"[a-z]+:", link)]


def target(page: Path, link: str) -> Path:
    """The file or folder that a link leads to."""
    path = link.partition("#")[0]
    return (page.parent / path).resolve() if path else page


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub gives the page's headings."""
    found: dict[str, int] = {}
    names = set()
    for heading in _HEADING.findall(_prose(page)):
        name = _slug(heading)
        names.add(name if name not in found else f"{name}-{found[name]}")
        found[name] = found.get(name, 0) + 1
    return frozenset(names)


def _examples(page: Path) -> Iterator[Example]:
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        indent, language, body = found.groups()
        lines = (line.removeprefix(indent) for line in body.splitlines(keepends=True))
        yield Example(page, text.count("\n", 0, found.start()) + 1, language, "".join(lines))


def _prose(page: Path) -> str:
    """The page without its examples and comments."""
    return _COMMENT.sub("", _BLOCK.sub("", page.read_text(encoding="utf-8")))


def _slug(heading: str) -> str:
    """As GitHub does it: in lower case, of links the text alone, hyphens for spaces, without punctuation."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    kept = (
        letter for letter in text if letter in "-_ " or unicodedata.category(letter)[0] in ("L", "N", "M")
    )
    return "".join(kept).replace(" ", "-")
