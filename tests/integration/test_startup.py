"""Help, `validate` and `plan` start light: seen in a real process, not only in the source."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "examples" / "demo" / "quantize.yml"

HEAVY = [
    *("torch", "transformers", "numpy", "datasets", "pyarrow", "pandas", "safetensors", "rich"),
    *("jinja2", "matplotlib"),
]
SCRIPT = """
import json, sys
from quantize_lib.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
print()
print(json.dumps({"code": code or 0, "loaded": sorted(set(sys.modules))}))
"""


def start(*arguments: str) -> tuple[int, list[str]]:
    """Run the command line in a process of its own: its exit code and the heavy modules that it loaded."""
    command = [sys.executable, "-c", SCRIPT, *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout.splitlines()[-1])
    return said["code"], [name for name in HEAVY if name in said["loaded"]]


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("validate", "--help"), ("validate", str(DEMO))],
    ids=lambda words: " ".join(words[:2]),
)
def test_help_and_validate_load_no_heavy_library(arguments: tuple[str, ...]) -> None:
    assert start(*arguments) == (0, [])


@pytest.mark.parametrize("form", ["table", "json", "github"])
def test_plan_loads_no_heavy_library(real_model: Path, form: str) -> None:
    assert real_model.is_dir()
    assert start("plan", str(DEMO), "--format", form) == (0, [])
