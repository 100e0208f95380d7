"""Which generated parts there are, and how they are put into the pages.

A page says where a part belongs with two comments, `<!-- generated:NAME -->` and `<!-- /generated -->`; what
stands between them is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from quantize_lib.benchmark.document import benchmark_schema
from quantize_lib.manifest.schema import manifest_schema
from quantize_lib.plan.plan_schema import plan_schema
from quantize_lib.report.report_schema import report_schema
from tools.docs import (
    action,
    cards,
    codes,
    command_line,
    examples,
    families,
    key_tables,
    machines,
    metrics,
    servers,
    texts,
)

ROOT = Path(__file__).resolve().parents[2]

_PART = re.compile(r"(<!-- generated:([\w.-]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)


def pages() -> list[Path]:
    """Every document of the repository: those at the top level, and all of `docs` but the example cards."""
    documents = (path for path in (ROOT / "docs").rglob("*.md") if path.parent != cards.FOLDER)
    return [*sorted(ROOT.glob("*.md")), *sorted(documents)]


def parts() -> dict[str, str]:
    """Every generated part by name."""
    return {
        **key_tables.of_manifest(manifest_schema()),
        **key_tables.of_output("plan", plan_schema()),
        **key_tables.of_output("report", report_schema()),
        **key_tables.of_output("benchmark", benchmark_schema()),
        **command_line.tables(),
        **action.tables(_yaml("action.yml"), _yaml(".github/workflows/quantize.yml")),
        **families.tables(),
        **examples.blocks(),
        **codes.tables(),
        **machines.tables(_yaml(".github/workflows/ci.yml")),
        **metrics.tables(),
        **servers.tables(),
        **texts.tables(),
    }


def names(page: str) -> list[str]:
    """The parts that a page asks for, in its order."""
    return [found[2] for found in _PART.finditer(page)]


def fill(page: str, found: Mapping[str, str]) -> str:
    """The page with every part as it should be.

    Raises:
        KeyError: where the page asks for a part that there is not.
    """
    return _PART.sub(lambda place: f"{place[1]}{found[place[2]]}{place[3]}", page)


def _yaml(name: str) -> dict[Any, Any]:
    document: dict[Any, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return document
