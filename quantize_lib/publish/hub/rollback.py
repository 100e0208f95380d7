"""Puts the publication before the present one back, by one commit on the present state.

Nothing is lost: the commit that is taken back stays in the history. Its fingerprint is noted on the card, so
that no later run publishes the same again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from quantize_lib.attestation import ATTESTATION_FILE
from quantize_lib.card.keep import kept_sections, with_sections, without_sections
from quantize_lib.card.shared import Part
from quantize_lib.card.state import with_rejected
from quantize_lib.errors import PublishError
from quantize_lib.files import to_json
from quantize_lib.hub.explanations import publishing_errors
from quantize_lib.hub.remote_files import RemoteFile
from quantize_lib.hub.retry import Retry, is_conflict
from quantize_lib.parts import place_in, placed
from quantize_lib.publish.hub.file_changes import Changes, LocalFile, restored, way_back
from quantize_lib.publish.hub.parts import SMALL, card_with, record_at
from quantize_lib.publish.hub.repository import HubRepository
from quantize_lib.publish.hub.repository_state import Head
from quantize_lib.report.records import RECORD_FILE
from quantize_lib.text import plain

_CARD = "README.md"
_CONFIG = "config.json"
_LOOKED_AT = 200
"""Commits; whoever published more often since the last good one has other troubles."""


@dataclass(frozen=True, kw_only=True)
class _Publication:
    """An earlier publication, whole as it was checked then."""

    commit: str
    record: dict[str, Any]
    files: Mapping[str, RemoteFile]
    ours: frozenset[str]
    """The files that it named as its own, and what they cannot name."""


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """One repository, or a part of it, on its way back.

    Attributes:
        part: which part of the repository; empty where it holds one checkpoint.
        retry: for the commit, before which everything is read anew.
    """

    remote: HubRepository
    part: str
    retry: Retry

    def run(self) -> str:
        """Go back; the new commit.

        Raises:
            PublishError: where there is nothing to go back to, or somebody else publishes meanwhile.
        """
        import httpx2

        unwanted, failures = "", 0
        while True:
            with self._unsure("may be back at its earlier publication") if failures else nullcontext():
                head = self.remote.head()
            card = None if head is None else head.card
            if card is not None and self.part:
                card = card.parts.get(self.part)
            if head is None or card is None or card.fingerprint is None:
                raise PublishError(
                    f"{self.remote.name} holds nothing on the Hub that this tool published",
                    hint="Check the cell, publish.namespace and the token.",
                )
            if unwanted and card.fingerprint != unwanted:
                if unwanted in card.rejected:
                    # It was done, and the answer was lost.
                    return head.commit
                raise PublishError(
                    f"{self.remote.name}: something else was published meanwhile",
                    hint="Look at it, and run the rollback again if that is to be taken back.",
                )
            unwanted = card.fingerprint
            earlier = self._earlier(head, {unwanted, *card.rejected})
            now = self.remote.files(head.commit)
            local = self._content(head, now, earlier, [*card.rejected, unwanted])
            needed = restored(
                {name: file for name, file in earlier.files.items() if name not in local},
                {name: file for name, file in now.items() if name not in local},
                earlier.ours - local.keys(),
                self._ours(head),
            )
            try:
                commit = self.remote.go_back(
                    earlier.commit,
                    needed,
                    parent=head.commit,
                    message=f"Go back to {earlier.commit[:12]}",
                    local=local,
                )
            except (OSError, httpx2.HTTPError) as error:
                failures += 1
                again = is_conflict(error) or self.retry.again(failures, error)
                if again and failures < self.retry.attempts:
                    continue
                if not isinstance(error, httpx2.TransportError):
                    raise
                with self._unsure("may be back at its earlier publication"):
                    raise
            with self._unsure(f"is back at its earlier publication by {commit}, which could not be checked"):
                seen = self.remote.files(commit)
            self._check(commit, seen, head, earlier, now, local, needed)
            return commit

    @contextmanager
    def _unsure(self, state: str) -> Iterator[None]:
        """Once a commit was sent, no error may invite to go back once more."""
        try:
            with publishing_errors(self.remote.name):
                yield
        except PublishError as error:
            raise PublishError(
                f"{self.remote.name} {state}: {error.message}",
                hint="Look at it on the Hub: if it is, the same rollback again would go back further.",
            ) from None

    def _earlier(self, head: Head, unwanted: set[str]) -> _Publication:
        """The newest publication that is none of these and is still what its own record says."""
        for commit in self.remote.commits()[:_LOOKED_AT]:
            record = self._record(commit)
            if record is None or commit == head.commit or record["fingerprint"] in unwanted:
                continue
            files = self.remote.files(commit)
            recorded = placed(self.part, record["files"])
            if all(self._is_intact(commit, name, sha, files) for name, sha in recorded.items()):
                ours = self._own(record) & files.keys()
                return _Publication(commit=commit, record=record, files=files, ours=ours)
        raise PublishError(
            f"{self.remote.name}: there is no earlier good publication to go back to",
            hint="Make the repository private on the Hub, or publish a better one.",
        )

    def _record(self, commit: str) -> dict[str, Any] | None:
        """The publication's own record at a commit; None where there is none, or none of ours."""
        from huggingface_hub.errors import EntryNotFoundError

        try:
            record = record_at(self.remote, commit, self.part)
        except EntryNotFoundError:
            return None
        if record is None or not {_CONFIG, _CARD} <= record["files"].keys():
            return None
        return record if isinstance(record.get("fingerprint"), str) else None

    def _is_intact(self, commit: str, name: str, sha256: str, files: Mapping[str, RemoteFile]) -> bool:
        """Whether a file is there as it was published; a card may have been written on by hand."""
        file = files.get(name)
        if file is None or name == place_in(self.part, _CARD):
            return file is not None
        if file.sha256 is not None:
            return file.sha256 == sha256
        return hashlib.sha256(self.remote.read(name, commit, limit=SMALL)).hexdigest() == sha256

    def _content(
        self, head: Head, now: Mapping[str, RemoteFile], earlier: _Publication, rejected: list[str]
    ) -> dict[str, LocalFile]:
        """The earlier card with the sections that people wrote by now and what was taken back; its record."""
        if self.part:
            own = Part(name=self.part, record=earlier.record, rejected=tuple(rejected))
            written = self._card(earlier.commit, place_in(self.part, _CARD))
            text = card_with(self.remote, head, now, own, written)
            return {_CARD: LocalFile.of_bytes(text.encode("utf-8"))}
        card = with_rejected(without_sections(self._card(earlier.commit)), rejected)
        card = with_sections(card, kept_sections(self._card(head.commit)))
        file = LocalFile.of_bytes(card.encode("utf-8"))
        if ATTESTATION_FILE in earlier.files:
            # The record comes back as it was signed.
            return {_CARD: file}
        record = {**earlier.record, "files": {**earlier.record["files"], _CARD: file.sha256}}
        return {_CARD: file, RECORD_FILE: LocalFile.of_bytes(to_json(record).encode("utf-8"))}

    def _card(self, commit: str, path: str = _CARD) -> str:
        return self.remote.read(path, commit, limit=SMALL).decode("utf-8", errors="replace")

    def _ours(self, head: Head) -> frozenset[str]:
        record = self._record(head.commit)
        return frozenset() if record is None else self._own(record)

    def _own(self, record: Mapping[str, Any]) -> frozenset[str]:
        """The files that a record names, itself and its signature."""
        names = (*record["files"], RECORD_FILE, ATTESTATION_FILE)
        return frozenset(place_in(self.part, name) for name in names)

    def _check(
        self,
        commit: str,
        now: Mapping[str, RemoteFile],
        head: Head,
        earlier: _Publication,
        before: Mapping[str, RemoteFile],
        local: Mapping[str, LocalFile],
        changes: Changes,
    ) -> None:
        """Compare what the Hub holds now with what it is to hold; take the commit back where it differs."""
        wanted = {name: file for name, file in before.items() if name not in changes.removed}
        wanted |= {name: earlier.files[name] for name in changes.added}
        wrong = sorted(
            name
            for name in {*wanted, *now, *local}
            if (
                name not in now or not local[name].equals(now[name])
                if name in local
                else now.get(name) != wanted.get(name)
            )
        )
        if wrong:
            self.remote.go_back(
                head.commit,
                way_back(before, now),
                parent=commit,
                message=f"Take back {commit[:12]}: it is not what was sent",
            )
            raise PublishError(
                f"{self.remote.name}: what the Hub holds at {commit} is not the earlier state: "
                + plain(", ".join(wrong)),
                hint="What was there before was put back by a further commit.",
            )
