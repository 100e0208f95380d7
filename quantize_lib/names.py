"""Names that meet a file system, a URL or the Hub: what they may look like, and how they are made."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from quantize_lib.schemas import definition
from quantize_lib.wording import SHOWN_PATH, allowed, meant, show

PLACEHOLDERS = ("model", "method", "bits", "name")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_GGUF = b"GGUF"
"""The first bytes of such a file."""
_WEIGHT_ENDINGS = (".safetensors", ".bin", ".pt", ".pth")
_LOCAL = ("./", "../", "/", "~")
# As huggingface_hub's validate_repo_id, with letters limited to ASCII.
_REPOSITORY = re.compile(
    r"([A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?/)?[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?"
)
_MAX_REPOSITORY = 96
RESERVED = ("report.json", "report.html")
"""What lies in the output folder beside the cells' folders."""


def repository_fault(repository: str) -> str | None:
    """Why a string is not the id of a repository on the Hub; None where it is one."""
    if not _REPOSITORY.fullmatch(repository):
        return (
            "use `name` or `namespace/name` of letters, digits, `-`, `_`, `.`, a letter or digit at each end"
        )
    if len(repository) > _MAX_REPOSITORY:
        return f"it has {len(repository)} characters, at most {_MAX_REPOSITORY} are allowed"
    if "--" in repository or ".." in repository:
        return "`--` and `..` are not allowed"
    if repository.endswith(".git"):
        return "it must not end in `.git`"
    return None


def safe_name_fault(name: str) -> str | None:
    """Why a name is not safe in file names; None where it is."""
    words = definition("safe_name")
    if name in RESERVED:
        return f"`{name}` is the name of the run's report"
    if len(name) > words["maxLength"] or not re.fullmatch(words["pattern"].strip("^$"), name):
        return f"{show(name)} is {words['errorMessage']}"
    return None


def template_faults(template: str) -> list[str]:
    """What is wrong with a repository name's template; empty where nothing is."""
    faults = []
    for found in _PLACEHOLDER.finditer(template):
        if found[1] not in PLACEHOLDERS:
            known = [f"{{{name}}}" for name in PLACEHOLDERS]
            suggestion = meant(found[1], PLACEHOLDERS)
            faults.append(f"unknown placeholder {show(found[0])}. {allowed(known)}{suggestion}")
    rest = _PLACEHOLDER.sub("", template)
    if "{" in rest or "}" in rest:
        faults.append(f"{show(template)} has a brace without its partner.")
    return faults


def render(template: str, values: Mapping[str, str]) -> str:
    """A template with its placeholders filled in; it must have no faults."""
    return _PLACEHOLDER.sub(lambda found: values[found[1]], template)


def absolute(written: str | Path, base: Path) -> Path:
    """An absolute path without `..`, from one that is relative to `base`; links keep their names."""
    path = Path(written)
    # `~nobody`, who has no home, is a file's name, as in a shell.
    with suppress(RuntimeError):
        path = path.expanduser()
    return Path(os.path.normpath(base / path))


def local_folder(model: str, base: Path) -> Path | None:
    """The folder that a model's id names, or None for a Hub id.

    Args:
        model: a path where it starts with `./`, `../`, `/` or `~`, or where it names a folder in `base`.
        base: the folder that relative paths start from.

    Raises:
        ValueError: where it looks like a path, or is a file of weights, but is no folder; with the reason.
    """
    looks_local = model in (".", "..") or model.startswith(_LOCAL)
    folder = absolute(model, base)
    try:
        is_folder = folder.is_dir()
    except OSError as error:
        raise ValueError(f"cannot be looked at: {error.strerror}") from None
    if is_folder:
        return folder
    weights = _weights_file(folder)
    if weights is not None:
        raise ValueError(f"{show(str(folder), limit=SHOWN_PATH)} is {weights}")
    if not looks_local:
        return None
    if folder.exists():
        raise ValueError(f"{show(str(folder), limit=SHOWN_PATH)} is not a folder")
    raise ValueError(f"no such folder: {show(str(folder), limit=SHOWN_PATH)}")


def _weights_file(path: Path) -> str | None:
    """What a file of weights is that is named in the place of a model, and what to name; None for others."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            start = file.read(len(_GGUF))
    except OSError:
        return None
    if start == _GGUF:
        return (
            "a GGUF file, which cannot be read (most are quantized already): name the transformers model in "
            "safetensors that it was made from"
        )
    return "one file of a model: name its folder" if path.suffix in _WEIGHT_ENDINGS else None
