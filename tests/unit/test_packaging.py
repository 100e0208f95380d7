"""What pyproject.toml says of the distribution, and that it declares what is imported."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

FIRST_PARTY = {"quantize_lib", "tools", "tests", "benchmarks", "examples"}
DISTRIBUTION = {"yaml": "pyyaml"}
"""Of an imported package, where it is not named as its distribution."""
MAY_IMPORT = {
    "quantize_lib": ("cpu", "signatures", "tasks"),
    "entrypoint.py": (),
    "tools": ("cpu", "dev"),
    "examples": ("cpu", "demo"),
    "benchmarks": ("cpu", "demo", "dev"),
    "tests": ("cpu", "demo", "dev"),
}
"""Files, and the extras whose packages they find beside those of the light core."""


OF_PEERS = {
    "peer_auto_round.py": {"auto_round"},
    "peer_llm_compressor.py": {"compressed_tensors", "llmcompressor"},
    "llama_cpp_files.py": {"llama_cpp"},
    "test_gguf_in_llama_cpp.py": {"llama_cpp"},
}
"""What runs in an environment of a peer's own."""


def normal(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(extras: tuple[str, ...]) -> set[str]:
    """The distributions that an installation with these extras asks for."""
    listed = list(PROJECT["dependencies"])
    for extra in extras:
        listed += PROJECT["optional-dependencies"][extra]
    return {normal(re.split(r"[\[<>=~!; ]", requirement)[0]) for requirement in listed}


def imports(path: Path) -> set[str]:
    """The packages that a file imports, at its top or in a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("place", MAY_IMPORT)
def test_every_imported_package_is_declared(place: str) -> None:
    files = [ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("*.py"))
    ours = [path for path in files if not {"work", "node_modules"} & set(path.relative_to(ROOT).parts)]
    assert ours
    known = declared(MAY_IMPORT[place])
    missing = {
        (str(path.relative_to(ROOT)), package)
        for path in ours
        for package in imports(path) - FIRST_PARTY - sys.stdlib_module_names - OF_PEERS.get(path.name, set())
        if normal(DISTRIBUTION.get(package, package)) not in known
    }
    assert not missing


def test_the_distribution_is_not_named_as_the_older_tool_but_the_command_is() -> None:
    assert PROJECT["name"] == "model-quantizer-action"
    assert PROJECT["scripts"] == {"model-quantizer": "quantize_lib.cli:main"}


def test_an_extra_that_takes_from_another_names_this_distribution() -> None:
    """Else pip would install the older tool beside this one."""
    extras = PROJECT["optional-dependencies"]
    assert "model-quantizer" not in declared(tuple(extras))
    assert extras["cuda"] == [f"{PROJECT['name']}[cpu]"]
