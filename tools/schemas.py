"""Write the schemas in schemas/ with the parts that come from the entries of the axes.

python tools/schemas.py            # rewrite them
python tools/schemas.py --check    # exit 1 where a file is not what the entries say
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from quantize_lib.benchmark.document import benchmark_schema
from quantize_lib.job.schema import job_schema, result_schema, statistics_schema
from quantize_lib.manifest.schema import manifest_schema
from quantize_lib.plan.plan_schema import plan_schema
from quantize_lib.report.report_schema import report_schema

ROOT = Path(__file__).resolve().parents[1]
COMPLETED: Mapping[str, Callable[[], dict[str, Any]]] = {
    "quantize": manifest_schema,
    "benchmark": benchmark_schema,
    "job": job_schema,
    "plan": plan_schema,
    "report": report_schema,
    "result": result_schema,
    "statistics": statistics_schema,
}
"""What gives each schema whole, by the name of its file."""
_WIDTH = 120
"""A mapping or a list that fits into it stands on one line."""
_DEPTH = 2
"""So many mappings in one another at most."""


def path_of(name: str) -> Path:
    """The committed file of a schema."""
    return ROOT / "schemas" / f"{name}.schema.json"


def text_of(schema: Mapping[str, Any]) -> str:
    """A schema as its file is to have it."""
    return _text(schema, indent=0, used=0) + "\n"


def stale() -> list[str]:
    """The names of the files that are not what the entries say."""
    return [
        name
        for name, whole in COMPLETED.items()
        if path_of(name).read_text(encoding="utf-8") != text_of(whole())
    ]


def _text(value: Any, *, indent: int, used: int) -> str:
    """A value as it is written after `used` characters of a line that is indented so far."""
    line = _line(value)
    if not isinstance(value, dict | list) or not value:
        return line
    if _depth(value) <= _DEPTH and indent + used + len(line) <= _WIDTH:
        return line
    if isinstance(value, dict):
        keys = [f"{_scalar(key)}: " for key in value]
        parts = [
            key + _text(item, indent=indent + 2, used=len(key) + 1)
            for key, item in zip(keys, value.values(), strict=True)
        ]
    else:
        parts = [_text(item, indent=indent + 2, used=1) for item in value]
    first, last = "{}" if isinstance(value, dict) else "[]"
    start = "\n" + " " * (indent + 2)
    return f"{first}{start}{f',{start}'.join(parts)}\n{' ' * indent}{last}"


def _line(value: Any) -> str:
    if isinstance(value, dict):
        parts = [f"{_scalar(key)}: {_line(item)}" for key, item in value.items()]
        return f"{{ {', '.join(parts)} }}" if parts else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_line, value))}]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    written = json.dumps(value, ensure_ascii=False)
    # Patterns hold control characters and line separators, which would not be seen.
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in written)


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return max(map(_depth, value), default=0) if isinstance(value, list) else 0


def main(arguments: list[str]) -> int:
    """Rewrite or check the files; the exit code."""
    wrong = stale()
    if "--check" in arguments:
        for name in wrong:
            print(
                f"{path_of(name).relative_to(ROOT)} is not what the entries say: run python tools/schemas.py"
            )
        return int(bool(wrong))
    for name in wrong:
        path_of(name).write_text(text_of(COMPLETED[name]()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
