"""Worked examples of new entries: the files that tests add to the package, or to a table of it."""

from __future__ import annotations

from pathlib import Path

TOYS = Path(__file__).resolve().parents[2] / "tests" / "toys"


def blocks() -> dict[str, str]:
    """`example.NAME` for each file, folded."""
    return {f"example.{path.stem}": _folded(path) for path in sorted(TOYS.glob("*.py"))}


def _folded(path: Path) -> str:
    name = f"tests/toys/{path.name}"
    source = path.read_text(encoding="utf-8").rstrip()
    return (
        f"<details>\n<summary>Example, whole: <code>{name}</code></summary>\n\n"
        f"```python\n{source}\n```\n\n</details>\n"
    )
