"""One repository on the Hugging Face Hub, through the Hub's own client.

Methods raise what the client raises; `hub.explanations` explains it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from quantize_lib.card.state import card_state
from quantize_lib.errors import PublishError
from quantize_lib.hub.client import hub_client, progress_bars
from quantize_lib.hub.remote_files import RemoteFile, TooLargeError, list_files, read_small
from quantize_lib.hub.retry import Retry, parsed
from quantize_lib.publish.base import Published
from quantize_lib.publish.hub.file_changes import Changes, LocalFile
from quantize_lib.publish.hub.refusals import refused_content
from quantize_lib.publish.hub.repository_state import Head, Proposal

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi

    Operation = CommitOperationAdd | CommitOperationCopy | CommitOperationDelete

_COMMIT = re.compile(r"[0-9a-f]{40}")
_PENDING = "private-until-published"
"""A tag of a repository that is to become public with its first good commit, and only then."""


class HubRepository:
    """A model repository.

    Args:
        name: `namespace/name`.
        token: gives the token, or None to ask without one. It is asked for each request, as a traded token
            lives an hour and an upload may take longer.
        retry: for requests that the client makes once only.
    """

    def __init__(self, name: str, token: Callable[[], str | None], retry: Retry) -> None:
        self.name = name
        self._token = token
        self._retry = retry

    @property
    def _api(self) -> HfApi:
        return hub_client(self._token())

    def head(self) -> Head | None:
        """What it is now, by one request; None where it does not exist, or not for this token."""
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        try:
            info = self._retry.call(lambda: self._api.model_info(self.name))
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            return None
        if info.id != self.name:
            # The Hub redirects from a repository's old names.
            raise PublishError(
                f"{self.name} is called {info.id!r} on the Hub",
                hint="Write publish.namespace and publish.name so, or choose a name that is free.",
            )
        if info.sha is None or not _COMMIT.fullmatch(info.sha):
            raise PublishError(f"{self.name}: the Hub names no commit", hint="Try again later.")
        return Head(
            commit=info.sha,
            private=bool(info.private),
            gated=bool(info.gated),
            names=frozenset(file.rfilename for file in info.siblings or ()),
            card=card_state(getattr(info.card_data, "__dict__", {})),
        )

    def create(self) -> Head:
        """Make it, seen by its namespace alone; it may come into being meanwhile.

        Raises:
            PublishError: where it exists and cannot be seen.
        """
        from huggingface_hub.errors import HfHubHTTPError

        try:
            # `exist_ok` would hide that the token may not write (a read token's 403).
            self._retry.call(lambda: self._api.create_repo(self.name, private=True))
        except HfHubHTTPError as error:
            if error.response.status_code != 409:
                raise
        head = self.head()
        if head is None:
            raise PublishError(
                f"{self.name} exists on the Hub, but this token cannot see it",
                hint="Use a token with access to it, or choose another name.",
            )
        return head

    def files(self, commit: str) -> dict[str, RemoteFile]:
        """Every file at a commit."""
        return list_files(self._api, self.name, commit)

    def commits(self) -> list[str]:
        """The commits of `main`, the newest first."""
        return parsed(lambda: [commit.commit_id for commit in self._api.list_repo_commits(self.name)])

    def read(self, path: str, commit: str, *, limit: int) -> bytes:
        """A small file at a commit.

        Raises:
            PublishError: where it has more than `limit` bytes.
        """
        try:
            return read_small(self._api, self.name, path, commit, limit=limit, retry=self._retry)
        except TooLargeError as error:
            raise PublishError(str(error)) from None

    def upload(self, local: Mapping[str, LocalFile], changes: Changes) -> list[Operation]:
        """Send what is large; what the Hub has already is not sent again, whoever sent it.

        Nothing of it is visible before `commit`.

        Returns:
            The operations for `commit`.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        additions = []
        for name in changes.added:
            addition = CommitOperationAdd(path_in_repo=name, path_or_fileobj=local[name].content)
            # Known since the checkpoint was checked; the client would read the file again for it.
            addition.upload_info.sha256 = bytes.fromhex(local[name].sha256)
            additions.append(addition)
        try:
            with progress_bars():
                parsed(
                    lambda: self._api.preupload_lfs_files(
                        self.name,
                        additions,
                        free_memory=False,
                        # A .gitignore in the repository would have files left out without a word.
                        gitignore_content="",
                    )
                )
        except (ValueError, RuntimeError) as error:
            if isinstance(error, OSError):
                raise
            raise refused_content(self.name, error) from None
        return [*additions, *(CommitOperationDelete(path_in_repo=name) for name in changes.removed)]

    def commit(
        self,
        operations: list[Operation],
        *,
        parent: str,
        message: str,
        description: str = "",
        propose: bool = False,
    ) -> Published:
        """Make one commit, on `main` or in a pull request of its own. It is made on `parent` or not at all.

        It is asked for once: where the answer is lost, the commit may be there all the same.
        """
        try:
            commit = parsed(
                lambda: self._api.create_commit(
                    self.name,
                    operations,
                    commit_message=message,
                    commit_description=description,
                    parent_commit=parent,
                    create_pr=propose,
                )
            )
        except (ValueError, RuntimeError) as error:
            if isinstance(error, OSError):
                raise
            raise refused_content(self.name, error) from None
        return Published(commit=commit.oid, proposal=commit.pr_url)

    def proposals(self) -> list[Proposal]:
        """Its pull requests, the newest first."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            found = self._retry.call(
                lambda: list(self._api.get_repo_discussions(self.name, discussion_type="pull_request"))
            )
        except RepositoryNotFoundError:
            return []
        return [
            Proposal(
                title=one.title,
                url=f"{self._api.endpoint}/{self.name}/discussions/{one.num}",
                revision=f"refs/pr/{one.num}",
                waits=one.status in ("open", "draft"),
                merged=one.status == "merged",
            )
            for one in found
        ]

    def discuss(self, title: str, text: str) -> None:
        """Open a discussion, unless there is one of that title: so it may be asked for again.

        Args:
            text: Markdown.
        """

        def once() -> None:
            api = self._api
            known = api.get_repo_discussions(self.name, discussion_type="discussion")
            if all(one.title != title for one in known):
                api.create_discussion(self.name, title, description=text)

        self._retry.call(once)

    def comment(self, number: int, text: str) -> None:
        """Write below a pull request, once: where the answer is lost, it may be there all the same.

        Args:
            number: of the pull request.
            text: Markdown.
        """
        parsed(lambda: self._api.comment_discussion(self.name, number, text))

    def commit_of(self, revision: str) -> str:
        """The commit that a revision stands for now."""
        found = self._retry.call(lambda: self._api.model_info(self.name, revision=revision)).sha
        if found is None or not _COMMIT.fullmatch(found):
            raise PublishError(
                f"{self.name}: the Hub names no commit for {revision}", hint="Try again later."
            )
        return found

    def go_back(
        self,
        to: str,
        changes: Changes,
        *,
        parent: str,
        message: str,
        local: Mapping[str, LocalFile] | None = None,
    ) -> str:
        """Make one commit that takes files back from an earlier commit, and adds these beside them."""
        from huggingface_hub import CommitOperationCopy, CommitOperationDelete

        return self.commit(
            [
                *(self.upload(local, Changes(added=tuple(local))) if local else ()),
                *(
                    CommitOperationCopy(src_path_in_repo=name, path_in_repo=name, src_revision=to)
                    for name in changes.added
                ),
                *(CommitOperationDelete(path_in_repo=name) for name in changes.removed),
            ],
            parent=parent,
            message=message,
        ).commit

    def tag(self, name: str, commit: str) -> None:
        """Tag a commit; a tag that is there stays where it is."""
        self._retry.call(lambda: self._api.create_tag(self.name, tag=name, revision=commit, exist_ok=True))

    def collect(self, title: str, *, private: bool) -> None:
        """Put it into its namespace's collection of that title, which is made where there is none."""
        namespace = self.name.partition("/")[0]
        collection = self._retry.call(
            lambda: self._api.create_collection(title, namespace=namespace, private=private, exists_ok=True)
        )
        self._retry.call(
            lambda: self._api.add_collection_item(collection.slug, self.name, "model", exists_ok=True)
        )

    def mark_pending(self) -> None:
        """Note in the repository that it is private only until its first good commit."""
        self._retry.call(lambda: self._api.create_tag(self.name, tag=_PENDING, exist_ok=True))

    def is_pending(self) -> bool:
        """Whether it is private only until its first good commit."""
        refs = self._retry.call(lambda: self._api.list_repo_refs(self.name))
        return any(tag.name == _PENDING for tag in refs.tags)

    def gate(self, gated: Literal["auto", "manual"]) -> None:
        """Have who wants its files ask for them."""
        self._retry.call(lambda: self._api.update_repo_settings(self.name, gated=gated))

    def open(self, gated: Literal["auto", "manual"] | None) -> None:
        """Make it public, and gated in the same moment."""
        self._retry.call(lambda: self._api.update_repo_settings(self.name, private=False, gated=gated))

    def unmark_pending(self) -> None:
        """Take away the note that it is private only until its first good commit."""
        from huggingface_hub.errors import RevisionNotFoundError

        try:
            self._retry.call(lambda: self._api.delete_tag(self.name, tag=_PENDING))
        except RevisionNotFoundError:
            # An earlier attempt took it away, and its answer was lost.
            return
