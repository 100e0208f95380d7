"""What pyproject.toml says of the distribution."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_distribution_is_not_named_as_the_older_tool_but_the_command_is() -> None:
    assert PROJECT["name"] == "model-quantizer-action"
    assert PROJECT["scripts"] == {"model-quantizer": "quantize_lib.cli:main"}


def test_an_extra_that_takes_from_another_names_this_distribution() -> None:
    """Else pip would install the older tool beside this one."""
    extras = PROJECT["optional-dependencies"]
    listed = [*PROJECT["dependencies"], *(name for extra in extras.values() for name in extra)]
    names = {re.split(r"[\[<>=~! ]", requirement)[0] for requirement in listed}
    assert "model-quantizer" not in names
    assert extras["cuda"] == [f"{PROJECT['name']}[cpu]"]
