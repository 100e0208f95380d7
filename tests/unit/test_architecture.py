"""The shape of the code: one direction of imports, small files, a start without heavy libraries."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "quantize_lib"

BASE = ("errors", "types", "files", "memory", "metrics", "tokens", "retry")
"""Imported by everyone, importing only each other."""
ORDER = (
    "manifest",
    "plan",
    "source",
    "calibration",
    "engine",
    "checkpoint",
    "evaluate",
    "gate",
    "card",
    "publish",
    "report",
    "run",
    "cli",
    "__main__",
)
LIGHT = (
    "errors",
    "types",
    "files",
    "tokens",
    "retry",
    "manifest",
    "plan",
    "source",
    "gate",
    "card",
    "publish",
    "report",
    "cli",
)
"""Loaded by `--help`, `validate` and `plan`."""
HEAVY = {
    "accelerate", "bitsandbytes", "datasets", "docker", "gptqmodel", "huggingface_hub", "jinja2", "numpy",
    "optimum", "pandas", "pyarrow", "rich", "safetensors", "tokenizers", "torch", "transformers",
}  # fmt: skip
"""Imported inside the function that needs them, in a light module."""
MAX_LINES = {"quantize_lib": 400, "tests": 600, "tools": 400, "benchmarks": 400, "examples": 400}
"""A file of tests may be a long table of cases."""

FILES = sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    """The word of the data flow that a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(node: ast.AST, path: Path) -> list[str]:
    """The full names that an import statement names; relative ones are refused."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{path}:{node.lineno}: a relative import"
        assert node.module
        # `from quantize_lib import files` names a module of ours, too.
        if node.module == "quantize_lib":
            return [f"quantize_lib.{alias.name}" for alias in node.names]
        return [node.module]
    return []


def at_import_time(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when a module is imported: not in functions, not under TYPE_CHECKING."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            yield from at_import_time(statement.orelse)
            continue
        yield statement
        for field in ("body", "orelse", "finalbody"):
            yield from at_import_time(getattr(statement, field, []))
        for handler in getattr(statement, "handlers", []):
            yield from at_import_time(handler.body)


def rank(name: str) -> int:
    return -1 if name in BASE else ORDER.index(name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_what_stands_to_its_left(path: Path) -> None:
    own = part(path)
    if own == "__init__":
        own = "errors"
    assert own in BASE + ORDER, f"{own} has no place in the data flow of tests/unit/test_architecture.py"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for name in imported(node, path):
            words = name.split(".")
            if words[0] != "quantize_lib" or len(words) == 1 or words[1].startswith("__"):
                continue
            target = words[1]
            line = getattr(node, "lineno", 0)
            assert target == own or rank(target) < rank(own) or (rank(own), rank(target)) == (-1, -1), (
                f"{path.relative_to(ROOT)}:{line} imports {name}, which stands to its right"
            )


@pytest.mark.parametrize(
    "path", [path for path in FILES if part(path) in LIGHT], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_a_light_module_imports_heavy_libraries_only_where_it_uses_them(path: Path) -> None:
    # make_reporter imports it only where there is a terminal; tests/integration/test_startup.py shows that
    # nothing else loads it.
    allowed = {"rich"} if path == PACKAGE / "cli" / "console" / "terminal.py" else set()
    for node in at_import_time(ast.parse(path.read_text(encoding="utf-8")).body):
        for name in imported(node, path):
            library = name.split(".")[0]
            assert library not in HEAVY - allowed, f"{path.relative_to(ROOT)}:{node.lineno} imports {library}"


def module_file(name: str) -> Path | None:
    """The file of a module of ours; for `package.name` of a function, the package's."""
    path = ROOT.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py", path.parent / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def test_no_chain_of_imports_leads_from_the_command_line_to_a_heavy_library() -> None:
    seen: set[Path] = set()
    pending = [path for path in FILES if part(path) in ("cli", "manifest", "plan", "__main__")]
    pending = [path for path in pending if path.name != "terminal.py"]
    while pending:
        path = pending.pop()
        if path in seen:
            continue
        seen.add(path)
        for node in at_import_time(ast.parse(path.read_text(encoding="utf-8")).body):
            for name in imported(node, path):
                assert name.split(".")[0] not in HEAVY, f"{path.relative_to(ROOT)}:{node.lineno}: {name}"
                if name.startswith("quantize_lib.") and (target := module_file(name)):
                    pending.append(target)
    assert seen


@pytest.mark.parametrize(("folder", "limit"), MAX_LINES.items())
def test_no_file_is_long(folder: str, limit: int) -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > limit
    }
    assert not long


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_class_and_function_of_the_surface_says_what_it_is_for(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    silent = [] if ast.get_docstring(tree) else ["the module"]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            silent += [] if ast.get_docstring(node) else [node.name]
    assert not silent
