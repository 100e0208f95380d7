"""The shape of the code: one direction of imports, small files, a start without heavy libraries."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "quantize_lib"

EDGES: dict[str, set[str]] = {
    # On the ground floor.
    "errors": set(),
    "attestation": set(),
    "devices": {"errors"},
    "environment": set(),
    "files": {"text"},
    "logits": {"sizing"},
    "pages": {"text"},
    "parallel": set(),
    "pictures": set(),
    "process_group": set(),
    "process_memory": set(),
    "reporting": set(),
    "registry": {"wording"},
    "schemas": set(),
    "sizing": set(),
    "tasks": set(),
    "text": set(),
    "versions": {"formats"},
    "wording": set(),
    "names": {"schemas", "wording"},
    "options": {"names"},
    "precision": set(),
    "hub": {"errors", "text"},
    # A file with rules of its own, which a method and a format share.
    "gguf_file": {"errors", "registry"},
    # The axes.
    "methods": {"gguf_file", "registry", "text"},
    "packing": set(),
    "formats": {"errors", "files", "gguf_file", "methods", "packing", "precision", "registry", "tasks"},
    "effective_settings": {"formats", "methods"},
    "cell_words": {"formats", "methods"},
    "metrics": {"files", "logits", "precision", "registry", "text", "wording"},
    "targets": {"options", "registry"},
    "state_stores": {"names", "options", "registry"},
    "harness": {"errors", "files", "metrics", "text"},
    "command": {"environment", "errors", "files", "metrics", "process_group", "text"},
    # What a model is, what is asked for, and what that costs.
    "architecture": {"errors", "formats", "methods", "tasks", "wording"},
    "generation_config": {"errors", "text", "wording"},
    "source": {
        *("architecture", "errors", "files", "formats", "generation_config", "hub", "methods", "names"),
        *("reporting", "text", "wording"),
    },
    "tokenizer": {
        *("calibration", "environment", "errors", "files", "generation_config", "source", "text"),
        *("wording",),
    },
    "calibration": {"errors", "files", "hub", "text", "wording"},
    "plan": {
        *("architecture", "calibration", "cell_words", "command", "devices", "effective_settings"),
        *("errors", "files", "formats", "harness", "methods", "metrics", "options", "schemas", "sizing"),
        *("source", "state_stores", "targets", "tasks", "text", "wording"),
    },
    "manifest": {
        *("calibration", "command", "devices", "errors", "formats", "harness", "methods", "metrics"),
        *("names", "options", "plan", "schemas", "source", "state_stores", "targets", "wording"),
    },
    # What travels, and who computes.
    "job": {
        *("cell_words", "devices", "effective_settings", "errors", "files", "formats", "harness"),
        *("methods", "metrics", "reporting", "schemas", "text", "wording"),
    },
    "engine": {
        *(
            "architecture",
            "environment",
            "errors",
            "files",
            "formats",
            "gguf_file",
            "logits",
            "methods",
            "metrics",
        ),
        *("process_memory", "registry", "reporting", "sizing", "tasks", "text", "wording"),
    },
    "checkpoint": {"errors", "files", "formats"},
    "evaluate": {
        *("architecture", "engine", "environment", "errors", "files", "formats", "harness", "job", "logits"),
        *("metrics", "precision", "process_memory", "tasks", "text"),
    },
    "worker": {
        *("architecture", "calibration", "checkpoint", "devices", "engine", "errors", "evaluate"),
        *("files", "formats", "generation_config", "harness", "job", "methods", "metrics", "parallel"),
        *(
            "plan",
            "process_memory",
            "reporting",
            "sizing",
            "source",
            "tasks",
            "text",
            "tokenizer",
            "versions",
        ),
    },
    # Where checkpoints lie that share a repository.
    "parts": {"formats", "report"},
    # Who judges, shows and publishes.
    "report": {
        *("architecture", "cell_words", "command", "errors", "files", "harness", "job", "methods", "metrics"),
        *("options", "pages", "pictures", "schemas", "source", "targets", "text"),
    },
    "no_worse": {"job", "metrics", "report"},
    "gate": {"command", "harness", "metrics", "no_worse", "report"},
    "card": {
        *("architecture", "calibration", "effective_settings", "errors", "formats", "harness", "job"),
        *("methods", "metrics", "names", "pictures", "plan", "report", "source", "tasks", "text", "wording"),
    },
    "publish": {
        *("attestation", "card", "errors", "files", "formats", "hub", "names", "parts", "plan", "registry"),
        *("report", "source"),
        *("targets", "text"),
    },
    "kept_state": {"errors", "files", "hub", "job", "registry", "reporting", "state_stores", "text"},
    "host": {
        *("architecture", "calibration", "card", "checkpoint", "command", "devices", "effective_settings"),
        *("environment", "errors", "files", "formats", "gate", "harness", "job", "kept_state", "manifest"),
        *(
            "methods",
            "metrics",
            "names",
            "parallel",
            "plan",
            "publish",
            "report",
            "reporting",
            "source",
            "targets",
        ),
        *("tasks", "text", "tokenizer", "versions", "wording"),
    },
    # Beside a run: checkpoints as their users meet them.
    "benchmark": {
        *("calibration", "checkpoint", "devices", "environment", "errors", "evaluate", "files", "formats"),
        *("methods", "pages", "pictures", "process_group", "process_memory", "registry", "report"),
        *("reporting", "schemas", "source", "tasks", "text", "tokenizer", "versions", "wording"),
    },
    "chat": {
        *("devices", "environment", "errors", "evaluate", "files", "source", "tasks", "text", "tokenizer"),
    },
    # Anybody's check of what was published.
    "verification": {
        *("attestation", "card", "errors", "files", "formats", "hub", "parts", "report", "source", "text"),
    },
    "executors": {
        *("command", "devices", "environment", "errors", "files", "harness", "job", "reporting", "text"),
        *("tokenizer",),
    },
    "cli": {
        *(
            "architecture",
            "benchmark",
            "chat",
            "command",
            "environment",
            "errors",
            "evaluate",
            "executors",
            "formats",
            "harness",
            "host",
            "job",
            "kept_state",
            "manifest",
        ),
        *("methods", "plan", "publish", "report", "reporting", "source", "targets", "text", "tokenizer"),
        *("metrics", "names", "verification", "versions", "worker"),
    },
    "__main__": {"cli"},
}
"""Who imports whom: the edges that are needed, and no others. A new one is a decision: add it here."""
LIGHT = {
    *("errors", "devices", "files", "hub", "names", "precision", "reporting", "schemas", "text", "wording"),
    *(
        "methods",
        "metrics",
        "targets",
        "state_stores",
        "kept_state",
        "architecture",
        "manifest",
        "plan",
        "source",
        "gate",
        "card",
    ),
    *(
        "publish",
        "report",
        "job",
        "host",
        "cli",
        "tasks",
        "pages",
        "parallel",
        "pictures",
        "benchmark",
        "chat",
        "command",
        "attestation",
        "verification",
    ),
}
"""Loaded by `--help`, `validate` and `plan`."""
HEAVY = {
    "accelerate", "bitsandbytes", "datasets", "docker", "gguf", "gptqmodel", "huggingface_hub", "jinja2",
    "libgguf", "lm_eval", "markupsafe", "matplotlib", "numpy", "optimum", "pandas", "pyarrow", "rich",
    "safetensors", "sigstore", "tokenizers", "torch", "transformers",
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


def edges() -> dict[str, dict[str, str]]:
    """Who imports whom, wherever in a file, each with one place of it."""
    found: dict[str, dict[str, str]] = {}
    for path in FILES:
        own = found.setdefault(part(path), {})
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for name in imported(node, path):
                words = name.split(".")
                if words[0] == "quantize_lib" and len(words) > 1 and not words[1].startswith("__"):
                    own[words[1]] = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
    found.pop("__init__")
    return {own: {to: place for to, place in targets.items() if to != own} for own, targets in found.items()}


def test_modules_import_along_the_edges_that_are_listed_and_no_others() -> None:
    found = edges()
    wrong = [
        found[own][to] if to in found.get(own, {}) else f"{own} → {to} is listed and not needed"
        for own in {*found, *EDGES}
        for to in sorted(set(found.get(own, ())) ^ EDGES.get(own, set()))
    ]
    assert not wrong
    assert found.keys() == EDGES.keys()


def reached(start: str) -> set[str]:
    """Everything that a part imports, directly or through others."""
    seen: set[str] = set()
    pending = [start]
    while pending:
        for target in EDGES[pending.pop()] - seen:
            seen.add(target)
            pending.append(target)
    return seen


@pytest.mark.parametrize("own", EDGES)
def test_no_imports_go_in_a_circle(own: str) -> None:
    assert own not in reached(own)


@pytest.mark.parametrize(
    ("own", "others"),
    [
        # Beside foreign code there is no token, and nothing that judges or publishes.
        ("worker", {"publish", "host", "kept_state", "card", "report", "gate", "executors", "cli"}),
        ("engine", {"publish", "host", "card", "report", "gate", "executors", "cli", "job", "hub", "source"}),
        ("job", {"publish", "host", "worker", "engine", "card", "report", "executors", "hub"}),
        # The host computes nothing.
        ("host", {"engine", "worker", "evaluate", "executors", "logits"}),
        ("publish", {"engine", "worker", "evaluate", "executors", "logits"}),
        ("kept_state", {"engine", "worker", "evaluate", "executors", "publish"}),
        ("executors", {"engine", "worker", "host", "publish", "kept_state", "hub"}),
    ],
)
def test_a_wall_stands(own: str, others: set[str]) -> None:
    assert not EDGES[own] & others
    if own != "worker":
        # A metric names its arithmetic, and loads it where logits are.
        assert not reached(own) & (others - {"hub", "logits"})


def test_the_host_never_imports_what_computes() -> None:
    for path in (PACKAGE / "host").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for name in imported(node, path):
                assert name.split(".")[0] not in {"torch", "transformers", "safetensors"}, path


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


HUB_CALLS = {"HfApi", "hf_hub_download", "get_session", "build_hf_headers", "http_stream_backoff"}
"""What asks the Hub, with the time limits that `hub/` alone cares for."""


def test_only_hub_makes_clients_of_the_hub() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in FILES
        if part(path) != "hub"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and HUB_CALLS & {getattr(node.func, "id", ""), getattr(node.func, "attr", "")}
    ]
    assert not found


def module_file(name: str) -> Path | None:
    """The file of a module of ours; for `package.name` of a function, the package's."""
    path = ROOT.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py", path.parent / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def test_no_chain_of_imports_leads_from_the_command_line_to_a_heavy_library() -> None:
    seen: set[Path] = set()
    pending = [path for path in FILES if part(path) in ("cli", "host", "manifest", "plan", "__main__")]
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


TEST_FILES = sorted((ROOT / "tests").rglob("*.py"))


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_tests_share_is_in_support_and_no_test_module_imports_another(path: Path) -> None:
    names = [
        name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in imported(node, path)
    ]
    # tests/families is a program of its own (`make test-families`).
    own = ("tests.families",) if path.parent.name == "families" else ()
    allowed = ("tests.support", "tests.toys", *own)
    assert not [name for name in names if name.startswith("tests.") and not name.startswith(allowed)]
