"""A manifest's plain data as it is written, with what is wrong of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantize_lib.manifest.check import check
from quantize_lib.manifest.problems import Path as KeyPath


class Written:
    """Shows only the parts that the schema found no fault with, so that one mistake is reported once.

    Args:
        data: the manifest's root.
        base: absolute folder that its paths are relative to.

    Attributes:
        findings: what is wrong so far.
        faulty: paths at which the schema found faults.
    """

    def __init__(self, data: Mapping[str, Any], base: Path) -> None:
        self.data = data
        self.base = base
        self.findings = check(data)
        self.faulty = {finding[0] for finding in self.findings}

    def report(self, path: KeyPath, message: str) -> None:
        """Add what is wrong at a path."""
        self.findings.append((path, message, False))

    def clean(self, *path: str | int) -> bool:
        """Whether the schema found nothing wrong at the path or beneath."""
        return not any(fault[: len(path)] == path for fault in self.faulty)

    def at(self, *path: str | int) -> Any:
        """The value at a path, or an empty mapping where there is none or it is faulty.

        An index must be one of an item that is there."""
        value: Any = self.data
        for part in path:
            if isinstance(value, dict) and isinstance(part, str):
                value = value.get(part, {})
            elif isinstance(value, list) and isinstance(part, int):
                value = value[part]
            else:
                return {}
        return value if self.clean(*path) else {}
