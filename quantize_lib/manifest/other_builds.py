"""Other builds of a base model, which its checkpoints are compared with, as the manifest names them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from quantize_lib.manifest.problems import Path as KeyPath
from quantize_lib.manifest.text import Report
from quantize_lib.names import local_folder, repository_fault
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.wording import show

COMPARE_WITH = "compare_with"
"""The key in `evaluate`."""


def check_builds(builds: Sequence[str], path: KeyPath, base: Path, report: Report) -> None:
    """Report what is neither a folder here nor a repository of the Hub."""
    for index, written in enumerate(builds):
        try:
            local = local_folder(written, base)
        except ValueError as error:
            report((*path, index), f"{error}.")
            continue
        fault = repository_fault(written.partition("@")[0])
        if local is None and fault:
            message = f"{show(written)} is neither a folder here nor a repository on the Hub: {fault}."
            report((*path, index), message)


def build_spec(written: str, base: Path) -> ModelSpec:
    """A checked entry: a folder, or `namespace/name` or `namespace/name@revision` on the Hub."""
    local = local_folder(written, base)
    if local is not None:
        return ModelSpec(id=written, name=local.name, local=local)
    identity, _, revision = written.partition("@")
    return ModelSpec(id=identity, name=identity.rpartition("/")[2], revision=revision or "main")
