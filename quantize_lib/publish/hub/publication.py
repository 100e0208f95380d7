"""One checkpoint on its way into one repository on the Hub: as a commit, or as a pull request.

Large files are sent first and are invisible; then one commit on the state that was read before makes
everything visible at once. What the Hub then holds is compared with the checkpoint. Each attempt begins by
reading what is there, so a commit whose answer was lost is found instead of repeated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from quantize_lib import __version__
from quantize_lib.attestation import ATTESTATION_FILE
from quantize_lib.card.keep import kept_sections, with_sections
from quantize_lib.card.shared import Part
from quantize_lib.card.state import with_rejected
from quantize_lib.errors import PublishError
from quantize_lib.files import to_json
from quantize_lib.hub.remote_files import RemoteFile
from quantize_lib.hub.retry import Retry, is_conflict
from quantize_lib.parts import place_in, placed
from quantize_lib.publish.access import Access
from quantize_lib.publish.base import Published
from quantize_lib.publish.hub.file_changes import Changes, LocalFile, changes, differences, way_back
from quantize_lib.publish.hub.parts import SMALL, card_with, record_at, rejected_of
from quantize_lib.publish.hub.refusals import refused_settings
from quantize_lib.publish.hub.repository import HubRepository
from quantize_lib.publish.hub.repository_state import Head, Proposal
from quantize_lib.report.records import RECORD_FILE
from quantize_lib.text import plain

_CARD = "README.md"
_CONFIG = "config.json"
_SHOWN_DIGITS = 12
HARMLESS = frozenset({".gitattributes", ".gitignore", _CARD})
"""What a repository may hold that somebody made by hand for us to publish into."""


class Publication:
    """One checkpoint on its way into one repository."""

    def __init__(
        self,
        *,
        remote: HubRepository,
        checkpoint: Path,
        part: str,
        files: Mapping[str, str],
        fingerprint: str,
        message: str,
        access: Access,
        force: bool,
        propose: bool,
        retry: Retry,
        conflicts: int,
    ) -> None:
        self._remote = remote
        self._checkpoint = checkpoint
        self._part = part
        self._files = files
        self._fingerprint = fingerprint
        self._message = message
        self._access = access
        self._force = force
        self._propose = propose
        self._retry = retry
        self._conflicts = conflicts

    def run(self) -> Published:
        """Publish it, or open a pull request with it where there is none yet."""
        import httpx2

        failures = conflicts = 0
        first: Head | None = None
        while True:
            head = self._remote.head() or self._remote.create()
            # Where an answer was lost, the present one may be ours already.
            first = first or head
            refuse_foreign(self._remote.name, head)
            self._check_access(head)
            if conflicts and head.state(self._part).fingerprint == self._fingerprint:
                # Somebody else published the same at the same time, and checks it.
                return Published(commit=head.commit)
            before = self._remote.files(head.commit)
            local = self._content(head, before)
            needed = changes(local, before, self._published(head, before))
            if not needed:
                self._check(head.commit, local, before, before, needed)
                return self._replacing(first, Published(commit=head.commit))
            if self._propose:
                # Who merges it also decides who sees the repository.
                waiting = self._waiting(local)
                if waiting is not None:
                    return waiting
            elif not self._access.private and head.private and not head.is_ours:
                self._remote.mark_pending()
            operations = self._remote.upload(local, needed)
            try:
                done = self._remote.commit(
                    operations,
                    parent=head.commit,
                    message=self._title(),
                    description=self._description(),
                    propose=self._propose,
                )
            except (OSError, httpx2.HTTPError) as error:
                if is_conflict(error):
                    conflicts += 1
                    if conflicts >= self._conflicts:
                        raise
                else:
                    failures += 1
                    if not self._retry.again(failures, error):
                        raise
                continue
            self._settle(done, head, local, before, needed)
            return self._replacing(head, done)

    def _check_access(self, head: Head) -> None:
        """Before anything is sent: was it taken back, and may everybody see it who sees the repository?

        Raises:
            PublishError: where that is not so.
        """
        if self._fingerprint in head.state(self._part).rejected and not self._force:
            raise PublishError(
                f"{self._remote.name}: this checkpoint was taken back by a rollback",
                hint="Change its settings and build it again; --force publishes it all the same.",
            )
        if self._access.private and self._access.reason is not None and not head.private:
            raise PublishError(
                f"{self._remote.name} is public, but {self._access.reason}",
                hint="Make the repository private on the Hub, or confirm that.",
            )
        if self._access.gated is not None and not head.private and not head.gated:
            with refused_settings(
                f"{self._remote.name} is public, and {self._access.reason}",
                "Switch access requests on under its Settings on the Hub.",
            ):
                self._remote.gate(self._access.gated)

    def _content(self, head: Head, before: Mapping[str, RemoteFile]) -> dict[str, LocalFile]:
        """The checkpoint's files, with what the published card hands on to the next one."""
        files = {
            name: LocalFile(
                content=self._checkpoint / name, size=(self._checkpoint / name).stat().st_size, sha256=digest
            )
            for name, digest in self._files.items()
        }
        local = placed(self._part, files)
        if self._part:
            own = Part(
                name=self._part,
                record=json.loads(files[RECORD_FILE].read()),
                rejected=rejected_of(head, self._part),
            )
            card = card_with(self._remote, head, before, own, files[_CARD].read().decode("utf-8"))
            return {**local, _CARD: LocalFile.of_bytes(card.encode("utf-8"))}
        if _CARD not in local or _CARD not in before:
            return local
        old = self._remote.read(_CARD, head.commit, limit=SMALL).decode("utf-8", errors="replace")
        card = local[_CARD].read().decode("utf-8")
        rejected = [] if head.card is None else head.card.rejected
        merged = with_sections(with_rejected(card, rejected), kept_sections(old))
        if merged != card:
            local[_CARD] = LocalFile.of_bytes(merged.encode("utf-8"))
            if ATTESTATION_FILE in local:
                # The record stays as it was signed; whoever verifies it knows what is handed on in a card.
                return local
            record = json.loads(local[RECORD_FILE].read())
            record["files"][_CARD] = local[_CARD].sha256
            local[RECORD_FILE] = LocalFile.of_bytes(to_json(record).encode("utf-8"))
        return local

    def _published(self, head: Head, before: Mapping[str, RemoteFile]) -> frozenset[str]:
        """The files that the publications that this one takes the place of named as their own."""
        # Parts stay beside each other. A checkpoint that has the repository for itself has nothing beside it.
        parts = ("", self._part) if self._part else ("", *head.parts)
        return frozenset(name for part in parts for name in self._named(part, head, before))

    def _named(self, part: str, head: Head, before: Mapping[str, RemoteFile]) -> Iterator[str]:
        if place_in(part, RECORD_FILE) not in before:
            return
        record = record_at(self._remote, head.commit, part)
        if record is not None:
            yield from (place_in(part, name) for name in (*record["files"], RECORD_FILE, ATTESTATION_FILE))

    def _waiting(self, local: Mapping[str, LocalFile]) -> Published | None:
        """The open pull request that has this checkpoint already.

        Raises:
            PublishError: where somebody closed it.
        """
        found = proposed(self._remote, self._fingerprint)
        if found is None:
            return None
        if found.waits:
            commit = self._remote.commit_of(found.revision)
            files = self._remote.files(commit)
            # Its card may have been made for an earlier one, and every run signs anew; anybody may have
            # written its title.
            if all(
                name in files and file.equals(files[name])
                for name, file in local.items()
                if PurePosixPath(name).name not in (_CARD, RECORD_FILE, ATTESTATION_FILE)
            ):
                return Published(commit=commit, proposal=found.url)
        elif not self._force:
            raise PublishError(
                f"{self._remote.name}: the pull request with this checkpoint was closed: {found.url}",
                hint="Open it again there; --force opens another one.",
            )
        return None

    def _settle(
        self,
        done: Published,
        head: Head,
        local: Mapping[str, LocalFile],
        before: Mapping[str, RemoteFile],
        changes: Changes,
    ) -> None:
        """Check a commit. Where it is not what was sent, take it back; a pull request waits for a person."""
        now = self._remote.files(done.commit)
        try:
            self._check(done.commit, local, now, before, changes)
        except PublishError as error:
            if done.proposal is not None:
                hint = f"Close {done.proposal} unmerged, and run this again with --force."
            elif self._is_taken_back(done.commit, head, before, now):
                hint = "What was published before was put back by a further commit."
            else:
                hint = (
                    "It could not be taken back, so it is what everybody sees: run this again at once, or "
                    f"revert {done.commit[:12]} on the Hub."
                )
            raise PublishError(error.message, hint=hint) from None

    def _is_taken_back(
        self, commit: str, head: Head, before: Mapping[str, RemoteFile], now: Mapping[str, RemoteFile]
    ) -> bool:
        """Put the state before a commit back, by a further commit on it."""
        import httpx2

        try:
            try:
                self._retry.call(
                    lambda: self._remote.go_back(
                        head.commit,
                        way_back(before, now),
                        parent=commit,
                        message=f"Take back {commit[:12]}: it is not what was sent",
                    )
                )
            except (OSError, httpx2.HTTPError):
                # It may have been done, and the answer was lost.
                last = self._remote.head()
                return last is not None and self._remote.files(last.commit) == before
        except (OSError, httpx2.HTTPError, PublishError):
            return False
        return True

    def _check(
        self,
        commit: str,
        local: Mapping[str, LocalFile],
        now: Mapping[str, RemoteFile],
        before: Mapping[str, RemoteFile],
        changes: Changes,
    ) -> None:
        """Compare what the Hub holds at a commit with what was to be published.

        Raises:
            PublishError: where it is something else.
        """
        wrong = differences(local, now, before, changes)
        config = place_in(self._part, _CONFIG)
        if not wrong and self._remote.read(config, commit, limit=SMALL) != local[config].read():
            wrong = (f"{config} reads differently",)
        if wrong:
            raise PublishError(
                f"{self._remote.name}: what the Hub holds at {commit} is not what was sent: "
                + plain("; ".join(wrong))
            )

    def _replacing(self, before: Head, done: Published) -> Published:
        """A publication with what it was published over."""
        held = place_in(self._part, RECORD_FILE) in before.names if self._part else before.is_ours
        is_other = held and before.commit != done.commit
        return replace(done, replaced=before.commit if is_other else None)

    def _title(self) -> str:
        return f"{self._message} {_mark(self._fingerprint)}" if self._propose else self._message

    def _description(self) -> str:
        return f"model-quantizer {__version__}, fingerprint {self._fingerprint}"


def proposed(remote: HubRepository, fingerprint: str) -> Proposal | None:
    """The pull request for this fingerprint that waits; else the last one, where it was closed unmerged."""
    found = [one for one in remote.proposals() if one.title.endswith(_mark(fingerprint))]
    waiting = next((one for one in found if one.waits), None)
    return waiting or next((one for one in found[:1] if not one.merged), None)


def _mark(fingerprint: str) -> str:
    """Ends a pull request's title: lists of them tell nothing else that would do."""
    return f"[{fingerprint[:_SHOWN_DIGITS]}]"


def refuse_foreign(repository: str, head: Head) -> None:
    """Only what this tool published is replaced; somebody's model is not ours to overwrite."""
    if not head.is_ours and not head.names <= HARMLESS:
        raise PublishError(
            f"{repository} exists on the Hub and was not published by this tool",
            hint="Choose another name with publish.name, or rename that repository. One that is empty, or "
            "holds a README.md alone, is taken.",
        )
