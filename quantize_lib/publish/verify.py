"""Checks that a checkpoint is what was recorded of it, and holds nothing else.

The process that made it ran next to a foreign model; what it left is looked at before it is published.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from quantize_lib.attestation import ATTESTATION_FILE, read_bundle, statement, subjects
from quantize_lib.errors import PublishError
from quantize_lib.files import read_json, sha256_file
from quantize_lib.formats import WEIGHT_FILES
from quantize_lib.report.records import CARD_FILE, PICTURE_FILE, RECORD_FILE
from quantize_lib.source.model_files import is_terms_file

ALLOWED = (
    *WEIGHT_FILES,
    "*.json",
    "*.model",
    "*.txt",
    "*.jinja",
    "*.tiktoken",
    CARD_FILE,
    PICTURE_FILE,
)
"""File names that a checkpoint may hold beside licence and notices."""
_SIDE_FOLDERS = ("additional_chat_templates",)
"""The one folder that transformers itself writes beside a model's files."""
_UNSIGNED = "Sign it again, or remove that file to publish the checkpoint without a signature."
_BESIDE = (RECORD_FILE, ATTESTATION_FILE)
"""What a report cannot name: itself, and what holds its digest."""


def check_files(folder: Path, *, code: Collection[str] = ()) -> tuple[str, ...]:
    """The files of a checkpoint as relative POSIX paths, sorted.

    Args:
        code: names of Python files that it may hold too (`trust_remote_code`).

    Raises:
        PublishError: where it holds anything but regular files of allowed names.
    """
    try:
        return tuple(sorted(_files(folder, code)))
    except OSError as error:
        raise PublishError(f"{folder} cannot be read: {error.strerror or error}") from error


def recorded_files(checkpoint: Path, fingerprint: str) -> dict[str, str]:
    """The files that the checkpoint's own report names, the report, and its signature where there is one.

    Raises:
        PublishError: where the report is missing, or is of another checkpoint, or the signature is of another
            report.
    """
    path = checkpoint / RECORD_FILE
    try:
        data = read_json(path)
        digest = sha256_file(path)
    except (OSError, ValueError) as error:
        raise PublishError(f"{path} cannot be read: {error}") from error
    files = data.get("files") if isinstance(data, dict) else None
    if not isinstance(files, dict) or "config.json" not in files:
        raise PublishError(f"{path} does not name the checkpoint's files")
    if data.get("fingerprint") != fingerprint:
        raise PublishError(
            f"{checkpoint} has the fingerprint {data.get('fingerprint')!r} instead of {fingerprint!r}",
            hint="It was built with other settings; build it again.",
        )
    named = {str(name): str(value) for name, value in files.items()}
    return {**named, RECORD_FILE: digest, **_signature(checkpoint, digest)}


def _signature(checkpoint: Path, record: str) -> dict[str, str]:
    """The digest of the signature beside the report, by its name; nothing where there is none.

    Args:
        record: hex sha256 of the report.

    Raises:
        PublishError: where it is of another report: who checks it would be told of a forgery.
    """
    path = checkpoint / ATTESTATION_FILE
    if not path.is_file():
        return {}
    try:
        signed = subjects(statement(read_bundle(path.read_bytes())))
    except OSError as error:
        raise PublishError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise PublishError(f"{path} is no signature: {error}", hint=_UNSIGNED) from None
    if record not in signed:
        raise PublishError(
            f"{path} is the signature of another report than {RECORD_FILE}, which was changed since",
            hint=_UNSIGNED,
        )
    return {ATTESTATION_FILE: sha256_file(path)}


def verify_checkpoint(folder: Path, files: Mapping[str, str]) -> None:
    """Check that the folder holds exactly these files.

    Args:
        files: sha256 by relative POSIX path, as recorded. The record itself may be left out, as it cannot
            hold its own hash, and so may its signature.

    Raises:
        PublishError: where a file is missing, too many, changed or not regular, or its name is not allowed.
    """
    try:
        # Code that stands in the record was compared with the base model's.
        code = [name for name in files if name.endswith(".py")]
        found = {name: sha256_file(folder / name) for name in check_files(folder, code=code)}
    except OSError as error:
        raise PublishError(f"{folder} cannot be read: {error.strerror or error}") from error
    found = {name: digest for name, digest in found.items() if name in files or name not in _BESIDE}
    problems = [
        *(f"{name} is missing" for name in sorted(files.keys() - found.keys())),
        *(f"{name} is not part of the checkpoint" for name in sorted(found.keys() - files.keys())),
        *(f"{name} was changed" for name in sorted(files) if name in found and found[name] != files[name]),
    ]
    if problems:
        raise PublishError(
            f"{folder} is not what was recorded: {'; '.join(problems)}",
            hint="Build it again; only what was checked is published.",
        )


def _files(folder: Path, code: Collection[str]) -> Iterator[str]:
    """Relative POSIX paths; links are seen, never followed."""
    pending = [PurePosixPath()]
    while pending:
        inside = pending.pop()
        with os.scandir(folder / inside) as entries:
            for entry in entries:
                path = inside / entry.name
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode) and path.parts[0] in _SIDE_FOLDERS:
                    pending.append(path)
                elif not stat.S_ISREG(mode):
                    raise PublishError(f"{folder}: {str(path)!r} is {_kind(mode)}, not a regular file")
                elif str(path) not in code and not _is_allowed(path):
                    raise PublishError(
                        f"{folder}: {str(path)!r} has no place in a checkpoint",
                        hint="Allowed are " + ", ".join(ALLOWED) + ", licence and notices.",
                    )
                else:
                    yield str(path)


def _is_allowed(path: PurePosixPath) -> bool:
    return is_terms_file(str(path)) or any(fnmatchcase(path.name, pattern) for pattern in ALLOWED)


def _kind(mode: int) -> str:
    for test, name in (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if test(mode):
            return name
    return "a device"
