"""What every place to publish to offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quantize_lib.errors import PublishError
from quantize_lib.names import repository_fault
from quantize_lib.source.facts import Terms


@dataclass(frozen=True, kw_only=True)
class PublishedState:
    """What a repository holds at the moment.

    Attributes:
        fingerprint: of the checkpoint that was published last; None where the repository does not say.
        commit: 40 hex digits.
        version: of this tool, which made it; None where the repository does not say.
        rejected: fingerprints of checkpoints that were taken back (`publish --rollback`).
        inputs: what the fingerprint is made of (`plan.fingerprint.inputs`), as far as the repository says.
        choice: of the one that was chosen among its model's cells (`plan.fingerprint.choice_digest`).
    """

    fingerprint: str | None
    commit: str
    version: str | None = None
    rejected: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    choice: str | None = None


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a repository holds now.

    Attributes:
        commit: 40 hex digits.
        proposal: address of the pull request that has this commit and waits to be merged; None where it is
            on the main branch.
        replaced: the commit that held a checkpoint before; None where there was none, or it is the same one.
        notes: what failed beside the publication, which stays; for log and report.
    """

    commit: str
    proposal: str | None = None
    replaced: str | None = field(default=None, compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """A pull request with a checkpoint.

    Attributes:
        url: its address.
        waits: whether it is open; else somebody closed it without merging it.
    """

    url: str
    waits: bool


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a checkpoint was made from, for publishing; by default an open model of no release.

    Attributes:
        model: the base model's id.
        revision: its commit, or the content hash of a folder.
        terms: what binds who passes it on; None where that is not known, which counts as private.
    """

    model: str = ""
    revision: str | None = None
    terms: Terms | None = field(default_factory=Terms)


OPEN = Origin()


class Publisher(ABC):
    """A place to publish to, made of a `PublishSpec`.

    A repository holds one checkpoint, or several, each of which is a part of it (`parts`); `part` is empty
    where it holds one.
    """

    proposes: bool = False
    """Whether a checkpoint is proposed to somebody who lets it in, instead of published."""

    @abstractmethod
    def current(self, repository: str, part: str = "") -> PublishedState | None:
        """What the repository holds of a checkpoint, or None where there is nothing that could be kept.

        Raises:
            PublishError: where that cannot be found out.
        """

    @abstractmethod
    def record(self, repository: str, part: str = "") -> Mapping[str, Any] | None:
        """The report inside the checkpoint that the repository holds, unchecked; None where there is none.

        Raises:
            PublishError: where that cannot be found out.
        """

    def page(self, repository: str, commit: str) -> str | None:  # noqa: ARG002
        """The address at which a person sees a commit; None where there is none."""
        return None

    def proposed(self, repository: str, fingerprint: str) -> Proposed | None:  # noqa: ARG002
        """The pull request with a checkpoint of this fingerprint that was not merged, if there is one.

        Raises:
            PublishError: where that cannot be found out.
        """
        return None

    def check(self, repositories: Collection[str]) -> None:
        """Find out before anything is computed that these could never be published.

        Raises:
            UsageError: where that is certain.
            PublishError: where a name is none.
        """
        for repository in repositories:
            check_repository(repository)

    def refusal(self, card: str) -> str | None:  # noqa: ARG002
        """Why a card would not be taken, in one line; None where it would, or that cannot be found out.

        Args:
            card: with its front matter.
        """
        return None

    @abstractmethod
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
        """Make the repository hold exactly the checkpoint's files, beside those of its other parts.

        Args:
            checkpoint: a finished checkpoint, model card and report included.
            repository: `namespace/name` or `name`.
            fingerprint: of the cell; the checkpoint's report says the same.
            message: one line for the repository's history, where there is one.
            part: which part of the repository it is.
            origin: what it was made from.
            force: publish it though it was taken back once.

        Raises:
            PublishError: where it cannot be published; the repository then holds what it held before.
        """

    def rollback(self, repository: str, part: str = "") -> Published:
        """Put the publication before the present one back, and note that the present one was taken back.

        Raises:
            PublishError: where there is none, or it cannot be put back.
        """
        raise NotImplementedError(f"{repository} {part}: this target's entry says that it keeps no history")


def check_repository(repository: str) -> str:
    """The repository's name, if the Hub would take it; so it cannot leave the folder it belongs in either.

    Raises:
        PublishError: where it is not `name` or `namespace/name` of allowed characters.
    """
    fault = repository_fault(repository)
    if fault is not None:
        raise PublishError(f"{repository!r} is not a repository's name: {fault}")
    return repository
