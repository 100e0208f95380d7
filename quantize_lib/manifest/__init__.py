"""The manifest: `quantize.yml`, read, validated and resolved without network and without a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from quantize_lib.errors import UsageError
from quantize_lib.manifest.build import build
from quantize_lib.manifest.document import Document
from quantize_lib.manifest.file import parse_document, read_document
from quantize_lib.manifest.problems import InvalidManifestError, Problem, show_path
from quantize_lib.manifest.problems import Path as KeyPath
from quantize_lib.manifest.single_model import single_model_plan
from quantize_lib.names import absolute
from quantize_lib.plan.cells import Plan

__all__ = [
    "InvalidManifestError",
    "Problem",
    "expand",
    "load_manifest",
    "parse_manifest",
    "single_model_plan",
]


def load_manifest(path: Path) -> Plan:
    """Read and check a manifest; paths in it are relative to its folder.

    Raises:
        InvalidManifestError: with every problem found, each with its file, line and column.
    """
    return _resolve(read_document(path), absolute(path, Path.cwd()))


def parse_manifest(text: str | bytes, *, path: Path) -> Plan:
    """As `load_manifest`, from the text of a manifest that would lie at `path`."""
    data = text.encode("utf-8", errors="surrogatepass") if isinstance(text, str) else text
    return _resolve(parse_document(data, name=str(path)), absolute(path, Path.cwd()))


def expand(plan: Plan, found: Sequence[tuple[int, str]]) -> Plan:
    """The plan with the models that its rules found.

    Args:
        plan: of a manifest in a file.
        found: Hub ids, each with the index of its rule in `watch`; none that the manifest names itself.

    Raises:
        UsageError: where a found model's name, cells or repositories are those of another one.
    """
    if plan.manifest is None or not found:
        return plan
    written = len(plan.data.get("models", ()))

    def place(where: KeyPath) -> str:
        if len(where) > 1 and where[0] == "models" and isinstance(where[1], int) and where[1] >= written:
            rule, identity = found[where[1] - written]
            return f"{identity}, which watch[{rule}] finds"
        return show_path(where)

    result = build(plan.data, path=plan.manifest, base=plan.manifest.parent, place=place, found=found)
    if isinstance(result, list):
        raise UsageError(
            "\n".join(f"{place(where)}: {message}" for where, message, _ in result),
            hint="Leave a found model out with `exclude`, or write it under `models` with a `name:`.",
        )
    return replace(result, data=plan.data)


def _resolve(document: Document, path: Path) -> Plan:
    def place(where: KeyPath) -> str:
        problem = document.problem(where, "")
        return f"{show_path(where)} (line {problem.line}, column {problem.column})"

    result = build(document.root.plain(), path=path, base=path.parent, place=place)
    problems = list(document.problems)
    if isinstance(result, list):
        problems += [document.problem(where, message, key=key) for where, message, key in result]
    if problems or isinstance(result, list):
        raise InvalidManifestError(problems)
    return result
