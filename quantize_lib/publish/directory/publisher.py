"""Publishes into a folder that holds each repository as the Hub would.

A repository is a plain folder of its own, so that every tool can copy, mount or upload it. The new state is
staged on the same file system, checked, flushed to the disk, and then trades places with the old one in one
system call. Where a file system cannot do that, two renames follow each other; a crash between them leaves no
repository at its place, and the next call puts the old one back.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quantize_lib.attestation import ATTESTATION_FILE
from quantize_lib.errors import PublishError
from quantize_lib.files import read_json, sha256_file
from quantize_lib.parts import place_in, placed
from quantize_lib.plan.fingerprint import known_choice, known_inputs
from quantize_lib.publish.base import OPEN, Origin, Published, PublishedState, Publisher, check_repository
from quantize_lib.publish.directory.staging import flush, held_parts, stage, stage_others
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

    def current(self, repository: str, part: str = "") -> PublishedState | None:
        """See `Publisher`. A repository with a file missing counts as none: publishing again repairs it."""
        target = self._root / check_repository(repository)
        try:
            if self._hidden(repository, "previous").exists():
                with self._locked(repository):
                    self._recover(repository, target)
            return _state(target, part)
        except OSError as error:
            raise self._failure(repository, error) from error

    def record(self, repository: str, part: str = "") -> Mapping[str, Any] | None:
        """See `Publisher`."""
        if self.current(repository, part) is None:
            return None
        path = place_in(part, RECORD_FILE)
        try:
            data = read_json(self._root / repository / path)
        except (OSError, ValueError) as error:
            raise PublishError(f"{repository}: {path} cannot be read: {error}") from error
        return data if isinstance(data, dict) else None

    def publish(
        self,
        checkpoint: Path,
        repository: str,
        *,
        fingerprint: str,
        message: str,  # noqa: ARG002
        part: str = "",
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
                state = _state(target, part)
                if state is not None and state.commit == commit and _is_signed_so(target, part, files):
                    return published
                try:
                    stage(checkpoint, staging, part, files)
                    if part:
                        stage_others(target, staging, repository, part)
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
        flush(target.parent)

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


def _state(target: Path, part: str) -> PublishedState | None:
    report = target / place_in(part, RECORD_FILE)
    if not report.is_file():
        return None
    try:
        data = read_json(report)
    except ValueError:
        return None
    files = data.get("files") if isinstance(data, dict) else None
    if not isinstance(files, dict) or not all((target / name).is_file() for name in placed(part, files)):
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


def _is_signed_so(target: Path, part: str, files: Mapping[str, str]) -> bool:
    """Whether a repository has the signature that is to be published, or has none either."""
    signature = target / place_in(part, ATTESTATION_FILE)
    return files.get(ATTESTATION_FILE) == (sha256_file(signature) if signature.is_file() else None)


def _refuse_foreign(target: Path) -> None:
    """Only what this tool published is replaced; a folder of somebody's is not ours to delete."""
    if not os.path.lexists(target):
        return
    ours = target.is_dir() and ((target / RECORD_FILE).is_file() or held_parts(target))
    if target.is_symlink() or not ours:
        raise PublishError(
            f"{target} exists and was not published by this tool ({RECORD_FILE} is not in it)",
            hint="Move it away, or choose another name with publish.name.",
        )
