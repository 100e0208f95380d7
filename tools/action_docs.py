"""Write the tables of docs/reference/action.md and the README from action.yml and the reusable workflow.

python tools/action_docs.py            # rewrite the pages
python tools/action_docs.py --check    # exit 1 where a page is not what they say
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
ACTION = ROOT / "action.yml"
WORKFLOW = ROOT / ".github" / "workflows" / "quantize.yml"
PAGES = (ROOT / "docs" / "reference" / "action.md", ROOT / "README.md")

_PART = re.compile(r"(<!-- table:([\w-]+) -->\n).*?(<!-- /table -->)", re.DOTALL)


def tables(action: Mapping[Any, Any], workflow: Mapping[Any, Any]) -> dict[str, str]:
    """Every table of the page, by name."""
    # YAML 1.1 reads the key `on` as true.
    call = workflow[True]["workflow_call"]
    return {
        "inputs": _table(action["inputs"], with_default=True),
        "outputs": _table(action["outputs"], with_default=False),
        "workflow-inputs": _table(call["inputs"], with_default=True),
        "workflow-secrets": _table(call["secrets"], with_default=False),
        "workflow-outputs": _table(call["outputs"], with_default=False),
    }


def fill(page: str, parts: Mapping[str, str]) -> str:
    """The page with every table as it should be."""
    return _PART.sub(lambda found: f"{found[1]}{parts[found[2]]}{found[3]}", page)


def _table(rows: Mapping[str, Mapping[str, Any]], *, with_default: bool) -> str:
    heads = ["Name", *(["Default"] if with_default else []), "Meaning"]
    lines = [heads, ["---"] * len(heads)]
    for name, words in rows.items():
        default = str(words.get("default", "")).lower() if "default" in words else ""
        shown = [f"`{default}`" if default else ""] if with_default else []
        lines.append([f"`{name}`", *shown, words["description"]])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(arguments: list[str]) -> int:
    """Rewrite or check the pages; the exit code."""
    parts = tables(
        yaml.safe_load(ACTION.read_text(encoding="utf-8")),
        yaml.safe_load(WORKFLOW.read_text(encoding="utf-8")),
    )
    code = 0
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        filled = fill(page, parts)
        if "--check" not in arguments:
            path.write_text(filled, encoding="utf-8")
        elif filled != page:
            print(f"{path.relative_to(ROOT)} is not what action.yml says: run python tools/action_docs.py")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
