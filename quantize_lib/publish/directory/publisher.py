"""Publishes into a folder that holds each repository as the Hub would.

A repository is a plain folder of its own, so that every tool can copy, mount or upload it. The new state is
staged on the same file system, checked, flushed to the disk, and then trades places with the old one in one
system call. Where a file system cannot do that, two renames follow each other; a crash between them leaves no
repository at its place, and the next call puts the old one back.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quantize_lib.attestation import ATTESTATION_FILE
from quantize_lib.errors import PublishError
from quantize_lib.files import read_json, sha256_file
from quantize_lib.formats import is_weight_file
from quantize_lib.plan.fingerprint import known_choice, known_inputs
from quantize_lib.publish.base import OPEN, Origin, Published, PublishedState, Publisher, check_repository
from quantize_lib.publish.directory.swap import exchange
from quantize_lib.publish.verify import recorded_files, verify_checkpoint
from quantize_lib.report.records import RECORD_FILE
from quantize_lib.targets import PublishSpec
from quantize_lib.targets.directory import PATH

_HIDDEN = ".publishing"
"""Locks and unfinished states. No repository can have that name: names start with a letter or a digit."""
_COMMIT_DIGITS = 40


class DirectoryPublisher(Publisher):
    """Repositories as folders `root/namespace/name`.

    Args:
        spec: what the manifest says; the folder is made at the first publication.

    Raises:
        PublishError: where the folder cannot be written or is none.
    """

    def __init__(self, spec: PublishSpec) -> None:
        self._root = root = spec[PATH]
        existing = next(path for path in (root, *root.absolute().parents) if path.exists())
        if not existing.is_dir():
            raise PublishError(f"publish.path: {existing} is not a folder")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise PublishError(
                f"publish.path: {existing} is not writable", hint="Choose another folder, or change its mode."
            )

    def current(self, repository: str) -> PublishedState | None:
        """See `Publisher`. A repository with a file missing counts as none: publishing again repairs it."""
        target = self._root / check_repository(repository)
        try:
            if self._hidden(repository, "previous").exists():
                with self._locked(repository):
                    self._recover(repository, target)
            return _state(target)
        except OSError as error:
            raise self._failure(repository, error) from error

    def record(self, repository: str) -> Mapping[str, Any] | None:
        """See `Publisher`."""
        if self.current(repository) is None:
            return None
        try:
            data = read_json(self._root / repository / RECORD_FILE)
        except (OSError, ValueError) as error:
            raise PublishError(f"{repository}: {RECORD_FILE} cannot be read: {error}") from error
        return data if isinstance(data, dict) else None

    def publish(
        self,
        checkpoint: Path,
        repository: str,
        *,
        fingerprint: str,
        message: str,  # noqa: ARG002
        origin: Origin = OPEN,  # noqa: ARG002
        force: bool = False,  # noqa: ARG002
    ) -> Published:
        """See `Publisher`. A folder has no history and is seen by who may read it: the rest is not used."""
        target = self._root / check_repository(repository)
        files = recorded_files(checkpoint, fingerprint)
        verify_checkpoint(checkpoint, files)
        commit = files[RECORD_FILE][:_COMMIT_DIGITS]
        published = Published(commit=commit)
        staging = self._hidden(repository, "staging")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._locked(repository):
                self._recover(repository, target)
                _refuse_foreign(target)
                state = _state(target)
                if state is not None and state.commit == commit and _is_signed_so(target, files):
                    return published
                try:
                    _stage(checkpoint, staging, files)
                    self._replace(repository, staging, target)
                finally:
                    # The unfinished new state, or the old one.
                    shutil.rmtree(staging, ignore_errors=True)
        except OSError as error:
            raise self._failure(repository, error) from error
        return published

    def _replace(self, repository: str, staging: Path, target: Path) -> None:
        if not target.exists():
            staging.rename(target)
        elif not exchange(staging, target):
            self._replace_in_two_steps(repository, staging, target)
        _flush(target.parent)

    def _replace_in_two_steps(self, repository: str, staging: Path, target: Path) -> None:
        previous = self._hidden(repository, "previous")
        target.rename(previous)
        try:
            staging.rename(target)
        except OSError:
            previous.rename(target)
            raise
        shutil.rmtree(previous, ignore_errors=True)

    def _recover(self, repository: str, target: Path) -> None:
        """Undo what a crash left. The lock is held, so nobody else is at work."""
        shutil.rmtree(self._hidden(repository, "staging"), ignore_errors=True)
        previous = self._hidden(repository, "previous")
        if previous.exists():
            if target.exists():
                shutil.rmtree(previous, ignore_errors=True)
            else:
                previous.rename(target)

    def _hidden(self, repository: str, suffix: str) -> Path:
        # `--` occurs in no repository's name, so two names never meet.
        return self._root / _HIDDEN / f"{repository.replace('/', '--')}.{suffix}"

    @contextmanager
    def _locked(self, repository: str) -> Iterator[None]:
        """One writer for each repository; the system drops the lock of a process that dies."""
        path = self._hidden(repository, "lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _failure(self, repository: str, error: OSError) -> PublishError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return PublishError(
            f"{repository} cannot be published to {self._root}: {error.strerror or error}",
            hint=(
                "Free some space, or choose another publish.path; what was published before is unchanged."
                if full
                else "What was published before is unchanged."
            ),
        )


def _state(target: Path) -> PublishedState | None:
    report = target / RECORD_FILE
    if not report.is_file():
        return None
    try:
        data = read_json(report)
    except ValueError:
        return None
    files = data.get("files") if isinstance(data, dict) else None
    if not isinstance(files, dict) or not all((target / name).is_file() for name in files):
        return None
    fingerprint, versions = data.get("fingerprint"), data.get("versions")
    version = versions.get("model-quantizer") if isinstance(versions, dict) else None
    return PublishedState(
        fingerprint=fingerprint if isinstance(fingerprint, str) else None,
        commit=sha256_file(report)[:_COMMIT_DIGITS],
        version=version if isinstance(version, str) else None,
        inputs=known_inputs(data.get("inputs")),
        choice=known_choice(data.get("choice")),
    )


def _is_signed_so(target: Path, files: Mapping[str, str]) -> bool:
    """Whether a repository has the signature that is to be published, or has none either."""
    signature = target / ATTESTATION_FILE
    return files.get(ATTESTATION_FILE) == (sha256_file(signature) if signature.is_file() else None)


def _refuse_foreign(target: Path) -> None:
    """Only what this tool published is replaced; a folder of somebody's is not ours to delete."""
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir() or not (target / RECORD_FILE).is_file():
        raise PublishError(
            f"{target} exists and was not published by this tool ({RECORD_FILE} is not in it)",
            hint="Move it away, or choose another name with publish.name.",
        )


def _stage(checkpoint: Path, staging: Path, files: dict[str, str]) -> None:
    """The checkpoint's files in a new folder, checked and flushed to the disk."""
    staging.mkdir(parents=True)
    folders = {staging}
    for name, digest in files.items():
        source, target = checkpoint / name, staging / name
        target.parent.mkdir(parents=True, exist_ok=True)
        folders.add(target.parent)
        if not (is_weight_file(name) and _linked(source, target)):
            shutil.copyfile(source, target, follow_symlinks=False)
            if sha256_file(target) != digest:
                raise PublishError(f"{name} changed while it was copied")
        _flush(target)
    try:
        config = json.loads((staging / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise PublishError(f"{checkpoint / 'config.json'} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise PublishError(f"{checkpoint / 'config.json'} is not a JSON object")
    for folder in folders:
        _flush(folder)


def _linked(source: Path, target: Path) -> bool:
    """Share the blocks of a large file instead of copying it, where both are on one file system."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP):
            return False
        raise
    return True


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
