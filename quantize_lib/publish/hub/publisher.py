"""Publishes to the Hugging Face Hub, by one commit that is checked before it is reported."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from quantize_lib.errors import PublishError, UsageError
from quantize_lib.hub.cards import card_refusal
from quantize_lib.hub.credentials import publishing_token, read_token, write_token
from quantize_lib.hub.explanations import publishing_errors
from quantize_lib.hub.retry import Retry
from quantize_lib.parts import place_in
from quantize_lib.publish.access import Access, access
from quantize_lib.publish.base import (
    OPEN,
    Origin,
    Proposed,
    Published,
    PublishedState,
    Publisher,
    check_repository,
)
from quantize_lib.publish.hub.announcement import announce
from quantize_lib.publish.hub.publication import HARMLESS, Publication, proposed, refuse_foreign
from quantize_lib.publish.hub.refusals import refused_settings
from quantize_lib.publish.hub.repository import HubRepository
from quantize_lib.publish.hub.tag_and_collection import apply_options
from quantize_lib.publish.hub.token_check import check_access
from quantize_lib.publish.verify import recorded_files, verify_checkpoint
from quantize_lib.report.records import RECORD_FILE
from quantize_lib.targets import PublishSpec
from quantize_lib.targets.hub import DISCUSSION, PULL_REQUEST
from quantize_lib.text import plain

_RECORD_BYTES = 2**26
"""At most, of a report inside a checkpoint: it names every file and every layer."""


class HubPublisher(Publisher):
    """Repositories on the Hub that HF_ENDPOINT names.

    Args:
        spec: what the manifest says.
        retry: for requests that fail for a passing reason.
        conflicts: how often somebody else may be faster before that is an error.
    """

    def __init__(self, spec: PublishSpec, *, retry: Retry | None = None, conflicts: int = 3) -> None:
        self._spec = spec
        self.proposes = spec[PULL_REQUEST]
        self._retry = retry or Retry()
        self._conflicts = conflicts

    def current(self, repository: str, part: str = "") -> PublishedState | None:
        """See `Publisher`. One request; two where a repository is private though the manifest says public."""
        with publishing_errors(_named(repository)):
            remote = self._looked_at(repository)
            head = remote.head()
            if head is None or (not head.is_ours and head.names <= HARMLESS):
                return None
            refuse_foreign(repository, head)
            state = head.state(part)
            if head.private and not self._spec.private and remote.is_pending():
                # Cut off before it became public: publishing again settles it, without a commit.
                return PublishedState(fingerprint=None, commit=head.commit, rejected=state.rejected)
            return state

    def record(self, repository: str, part: str = "") -> Mapping[str, Any] | None:
        """See `Publisher`. Two requests."""
        path = place_in(part, RECORD_FILE)
        with publishing_errors(_named(repository)):
            remote = self._looked_at(repository)
            head = remote.head()
            if head is None or path not in head.names:
                return None
            try:
                data = json.loads(remote.read(path, head.commit, limit=_RECORD_BYTES))
            except ValueError as error:
                raise PublishError(f"{path} is not JSON: {error}") from error
        return data if isinstance(data, dict) else None

    def _looked_at(self, repository: str) -> HubRepository:
        """A repository that is read and not changed."""
        return HubRepository(repository, lambda: write_token() or read_token(), self._retry)

    def page(self, repository: str, commit: str) -> str:
        """See `Publisher`."""
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{repository}/tree/{commit}"

    def proposed(self, repository: str, fingerprint: str) -> Proposed | None:
        """See `Publisher`. One request, and none where no pull requests are opened."""
        if not self.proposes:
            return None
        with publishing_errors(_named(repository)):
            found = proposed(self._looked_at(repository), fingerprint)
        return None if found is None else Proposed(url=found.url, waits=found.waits)

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

    def refusal(self, card: str) -> str | None:
        """See `Publisher`. One request, which changes nothing: the Hub's own check of a card's metadata."""
        return card_refusal(card, token=write_token())

    def publish(
        self,
        checkpoint: Path,
        repository: str,
        *,
        fingerprint: str,
        message: str,
        part: str = "",
        origin: Origin = OPEN,
        force: bool = False,
    ) -> Published:
        """See `Publisher`."""
        files = recorded_files(checkpoint, fingerprint)
        verify_checkpoint(checkpoint, files)
        seen = access(self._spec, origin.terms)
        with publishing_errors(_named(repository)):
            remote = HubRepository(repository, lambda: publishing_token(repository), self._retry)
            published = Publication(
                remote=remote,
                checkpoint=checkpoint,
                part=part,
                files=files,
                fingerprint=fingerprint,
                message=plain(message),
                access=seen,
                force=force,
                propose=self.proposes,
                retry=self._retry,
                conflicts=self._conflicts,
            ).run()
        if self._spec[DISCUSSION]:
            published = replace(published, notes=announce(remote, published, part))
        if published.proposal is not None:
            return published
        with publishing_errors(repository):
            if not seen.private and remote.is_pending():
                self._open(remote, seen, published.commit)
        apply_options(remote, self._spec, origin, published.commit, part)
        return published

    @staticmethod
    def _open(remote: HubRepository, seen: Access, commit: str) -> None:
        """Show a checked commit to everybody; where the token may not, that is a person's to do, once.

        Without the note the next run finds the same checkpoint and skips it, instead of making it again.
        """
        try:
            with refused_settings(
                f"{remote.name} is published at {commit}, but stays private",
                "Make it public on the Hub under Settings"
                + (f", with access requests ({seen.gated})" if seen.gated else "")
                + ", or say `private: true`. It need not be built again.",
            ):
                remote.open(seen.gated)
        except PublishError:
            remote.unmark_pending()
            raise
        remote.unmark_pending()

    def rollback(self, repository: str, part: str = "") -> Published:
        """See `Publisher`."""
        from quantize_lib.publish.hub.rollback import Rollback

        with publishing_errors(_named(repository)):
            remote = HubRepository(repository, lambda: publishing_token(repository), self._retry)
            commit = Rollback(remote=remote, part=part, retry=self._retry).run()
        return Published(commit=commit)


def _named(repository: str) -> str:
    if "/" not in check_repository(repository):
        raise PublishError(
            f"{repository}: a repository on the Hub is in a namespace", hint="Set publish.namespace."
        )
    return repository
