"""Publishes to the Hugging Face Hub, by one commit that is checked before anyone is told of it.

Large files are sent first and are invisible; then one commit on the state that was read before makes
everything visible at once. What the Hub then holds is compared with the checkpoint. Each attempt begins by
reading what is there, so a commit whose answer was lost is found instead of repeated.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from quantize_lib import __version__
from quantize_lib.card.escape import plain
from quantize_lib.card.keep import kept_sections, with_sections
from quantize_lib.card.state import with_rejected
from quantize_lib.errors import PublishError, UsageError
from quantize_lib.files import to_json
from quantize_lib.publish.access import Access, access
from quantize_lib.publish.base import (
    OPEN,
    RECORD_FILE,
    Origin,
    Published,
    PublishedState,
    Publisher,
    check_repository,
)
from quantize_lib.publish.hub_changes import Changes, LocalFile, changes, differences, way_back
from quantize_lib.publish.hub_check import check_access
from quantize_lib.publish.hub_errors import hub_errors, refused_settings
from quantize_lib.publish.hub_options import apply_options
from quantize_lib.publish.hub_repository import Head, HubRepository
from quantize_lib.publish.verify import recorded_files, verify_checkpoint
from quantize_lib.retry import Retry, is_conflict
from quantize_lib.tokens import publishing_token, read_token, write_token
from quantize_lib.types import PublishSpec, RemoteFile

_CARD = "README.md"
_CONFIG = "config.json"
_SMALL = 16 << 20
"""Bytes of the largest file that is read back: config.json, a card or a record have a few thousand."""
_HARMLESS = frozenset({".gitattributes", ".gitignore", _CARD})
"""What a repository may hold that somebody made by hand for us to publish into."""


class HubPublisher(Publisher):
    """Repositories on the Hub that HF_ENDPOINT names.

    Args:
        spec: what the manifest says.
        retry: for requests that fail for a passing reason.
        conflicts: how often somebody else may be faster before that is an error.
    """

    def __init__(self, spec: PublishSpec, *, retry: Retry | None = None, conflicts: int = 3) -> None:
        self._spec = spec
        self._retry = retry or Retry()
        self._conflicts = conflicts

    def current(self, repository: str) -> PublishedState | None:
        """See `Publisher`. One request; two where a repository is private though the manifest says public."""
        with hub_errors(_named(repository)):
            place = HubRepository(repository, lambda: write_token() or read_token(), self._retry)
            head = place.head()
            if head is None or (not head.is_ours and head.names <= _HARMLESS):
                return None
            _refuse_foreign(repository, head)
            if head.private and not self._spec.private and place.is_pending():
                # Cut off before it became public: publishing again settles it, without a commit.
                return PublishedState(fingerprint=None, commit=head.commit, rejected=head.state.rejected)
            return head.state

    def page(self, repository: str, commit: str) -> str:
        """See `Publisher`."""
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{repository}/tree/{commit}"

    def check(self, repositories: Collection[str]) -> None:
        """See `Publisher`. An identity is traded for a token when there is something to publish, not here."""
        super().check(repositories)
        bare = next((name for name in repositories if "/" not in name), None)
        if bare is not None:
            raise UsageError(
                f"{bare}: a repository on the Hub is in a namespace", hint="Set publish.namespace."
            )
        token = write_token()
        if token is None:
            return
        # What a token may do, it may in a whole namespace.
        for name in {name.partition("/")[0]: name for name in repositories}.values():
            check_access(name, token, self._retry)

    def publish(
        self,
        checkpoint: Path,
        repository: str,
        *,
        fingerprint: str,
        message: str,
        origin: Origin = OPEN,
        force: bool = False,
    ) -> Published:
        """See `Publisher`."""
        files = recorded_files(checkpoint, fingerprint)
        verify_checkpoint(checkpoint, files)
        seen = access(self._spec, origin.terms)
        with hub_errors(_named(repository)):
            place = HubRepository(repository, lambda: publishing_token(repository), self._retry)
            commit = _Publication(
                place=place,
                checkpoint=checkpoint,
                files=files,
                fingerprint=fingerprint,
                message=plain(message),
                access=seen,
                force=force,
                retry=self._retry,
                conflicts=self._conflicts,
            ).run()
            if not seen.private and place.is_pending():
                self._open(place, seen, commit)
        apply_options(place, self._spec, origin, commit)
        return Published(commit=commit)

    @staticmethod
    def _open(place: HubRepository, seen: Access, commit: str) -> None:
        """Show a checked commit to everybody; where the token may not, that is a person's to do, once.

        Without the note the next run finds the same checkpoint and skips it, instead of making it again.
        """
        try:
            with refused_settings(
                f"{place.name} is published at {commit}, but stays private",
                "Make it public on the Hub under Settings"
                + (f", with access requests ({seen.gated})" if seen.gated else "")
                + ", or say `private: true`. It need not be built again.",
            ):
                place.open(seen.gated)
        except PublishError:
            place.unmark_pending()
            raise
        place.unmark_pending()

    def rollback(self, repository: str) -> Published:
        """See `Publisher`."""
        from quantize_lib.publish.hub_rollback import Rollback

        with hub_errors(_named(repository)):
            place = HubRepository(repository, lambda: publishing_token(repository), self._retry)
            commit = Rollback(place=place, retry=self._retry).run()
        return Published(commit=commit)


class _Publication:
    """One checkpoint on its way into one repository."""

    def __init__(
        self,
        *,
        place: HubRepository,
        checkpoint: Path,
        files: Mapping[str, str],
        fingerprint: str,
        message: str,
        access: Access,
        force: bool,
        retry: Retry,
        conflicts: int,
    ) -> None:
        self._place = place
        self._checkpoint = checkpoint
        self._files = files
        self._fingerprint = fingerprint
        self._message = message
        self._access = access
        self._force = force
        self._retry = retry
        self._conflicts = conflicts

    def run(self) -> str:
        """Publish it; the commit that holds it."""
        import httpx2

        failures = conflicts = 0
        while True:
            head = self._place.head() or self._place.create()
            _refuse_foreign(self._place.name, head)
            self._check_access(head)
            if conflicts and head.state.fingerprint == self._fingerprint:
                # Somebody else published the same at the same time, and checks it.
                return head.commit
            before = self._place.files(head.commit)
            local = self._content(head, before)
            made = changes(local, before, self._published(head, before))
            if not made:
                self._check(head.commit, local, before, before, made)
                return head.commit
            if not self._access.private and head.private and not head.is_ours:
                self._place.mark_pending()
            operations = self._place.upload(local, made)
            try:
                commit = self._place.commit(
                    operations, parent=head.commit, message=self._message, description=self._description()
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
            self._settle(commit, head, local, before, made)
            return commit

    def _check_access(self, head: Head) -> None:
        """Before anything is sent: was it taken back, and may everybody see it who sees the repository?

        Raises:
            PublishError: where that is not so.
        """
        if self._fingerprint in head.state.rejected and not self._force:
            raise PublishError(
                f"{self._place.name}: this checkpoint was taken back by a rollback",
                hint="Change its settings and build it again; --force publishes it all the same.",
            )
        if self._access.private and self._access.reason is not None and not head.private:
            raise PublishError(
                f"{self._place.name} is public, but {self._access.reason}",
                hint="Make the repository private on the Hub, or confirm that.",
            )
        if self._access.gated is not None and not head.private and not head.gated:
            with refused_settings(
                f"{self._place.name} is public, and {self._access.reason}",
                "Switch access requests on under its Settings on the Hub.",
            ):
                self._place.gate(self._access.gated)

    def _content(self, head: Head, before: Mapping[str, RemoteFile]) -> dict[str, LocalFile]:
        """The checkpoint's files, with what the published card hands on to the next one."""
        local = {
            name: LocalFile(
                content=self._checkpoint / name, size=(self._checkpoint / name).stat().st_size, sha256=digest
            )
            for name, digest in self._files.items()
        }
        if _CARD not in local or _CARD not in before:
            return local
        old = self._place.read(_CARD, head.commit, limit=_SMALL).decode("utf-8", errors="replace")
        card = local[_CARD].read().decode("utf-8")
        rejected = [] if head.card is None else head.card.rejected
        merged = with_sections(with_rejected(card, rejected), kept_sections(old))
        if merged != card:
            local[_CARD] = LocalFile.of_bytes(merged.encode("utf-8"))
            record = json.loads(local[RECORD_FILE].read())
            record["files"][_CARD] = local[_CARD].sha256
            local[RECORD_FILE] = LocalFile.of_bytes(to_json(record).encode("utf-8"))
        return local

    def _published(self, head: Head, before: Mapping[str, RemoteFile]) -> frozenset[str]:
        """The files that the publication before this one named as its own."""
        if RECORD_FILE not in before:
            return frozenset()
        try:
            record = json.loads(self._place.read(RECORD_FILE, head.commit, limit=_SMALL))
        except ValueError:
            return frozenset()
        files = record.get("files") if isinstance(record, dict) else None
        return frozenset(files) if isinstance(files, dict) else frozenset()

    def _settle(
        self,
        commit: str,
        head: Head,
        local: Mapping[str, LocalFile],
        before: Mapping[str, RemoteFile],
        made: Changes,
    ) -> None:
        """Check a commit, and take it back where it is not what was sent."""
        now = self._place.files(commit)
        try:
            self._check(commit, local, now, before, made)
        except PublishError as error:
            hint = "What was published before was put back by a further commit."
            if not self._is_taken_back(commit, head, before, now):
                hint = (
                    "It could not be taken back, so it is what everybody sees: run this again at once, or "
                    f"revert {commit[:12]} on the Hub."
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
                    lambda: self._place.go_back(
                        head.commit,
                        way_back(before, now),
                        parent=commit,
                        message=f"Take back {commit[:12]}: it is not what was sent",
                    )
                )
            except (OSError, httpx2.HTTPError):
                # It may have been done, and the answer was lost.
                last = self._place.head()
                return last is not None and self._place.files(last.commit) == before
        except (OSError, httpx2.HTTPError, PublishError):
            return False
        return True

    def _check(
        self,
        commit: str,
        local: Mapping[str, LocalFile],
        now: Mapping[str, RemoteFile],
        before: Mapping[str, RemoteFile],
        made: Changes,
    ) -> None:
        """Compare what the Hub holds at a commit with what was to be published.

        Raises:
            PublishError: where it is something else.
        """
        wrong = differences(local, now, before, made)
        if not wrong and self._place.read(_CONFIG, commit, limit=_SMALL) != local[_CONFIG].read():
            wrong = (f"{_CONFIG} reads differently",)
        if wrong:
            raise PublishError(
                f"{self._place.name}: what the Hub holds at {commit} is not what was sent: "
                + plain("; ".join(wrong))
            )

    def _description(self) -> str:
        return f"model-quantizer {__version__}, fingerprint {self._fingerprint}"


def _named(repository: str) -> str:
    if "/" not in check_repository(repository):
        raise PublishError(
            f"{repository}: a repository on the Hub is in a namespace", hint="Set publish.namespace."
        )
    return repository


def _refuse_foreign(repository: str, head: Head) -> None:
    """Only what this tool published is replaced; somebody's model is not ours to overwrite."""
    if not head.is_ours and not head.names <= _HARMLESS:
        raise PublishError(
            f"{repository} exists on the Hub and was not published by this tool",
            hint="Choose another name with publish.name, or rename that repository. One that is empty, or "
            "holds a README.md alone, is taken.",
        )
