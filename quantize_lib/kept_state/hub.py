"""State in a private repository on the Hub: a branch for each job, with the pieces as files beside an index.

A set is put there by one commit, so that a reader sees the old or the new one. The Hub keeps what a branch
once had: so its history is squashed after each commit, and what no commit names any more is removed from the
repository's storage.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from quantize_lib.errors import UsageError
from quantize_lib.hub.client import hub_client, progress_bars
from quantize_lib.hub.credentials import STATE, WRITE, state_token
from quantize_lib.hub.explanations import explain_publishing, quote
from quantize_lib.hub.remote_files import TooLargeError, list_files, read_small
from quantize_lib.hub.retry import Retry, parsed
from quantize_lib.kept_state.base import JobStore, Store, StoreError
from quantize_lib.kept_state.index import MAX_INDEX_BYTES
from quantize_lib.state_stores import StateSpec
from quantize_lib.state_stores.hub import REPOSITORY

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi

_INDEX = "state.json"
_PIECE = re.compile(r"pieces/([0-9a-f]{64})\.bin")
_RETRY = Retry(attempts=4)


class HubStore(Store):
    """A private repository on the Hub that HF_ENDPOINT names."""

    def __init__(self, spec: StateSpec, *, retry: Retry = _RETRY) -> None:
        super().__init__(spec)
        self._repository = str(spec[REPOSITORY])
        self._retry = retry

    def check(self) -> None:
        """See `Store`: the repository is made where it is missing, and must be private."""
        import httpx2

        if state_token() is None:
            raise UsageError(
                f"state: {self._repository} needs a token with write access, and there is none",
                hint=f"Set {STATE} (or {WRITE}, or HF_TOKEN), or give --no-state.",
            )
        try:
            private = self._is_private()
        except (OSError, httpx2.HTTPError) as error:
            raise UsageError(
                f"state: {explain_publishing(error, self._repository)[0]}",
                hint=f"The token in {STATE} (or {WRITE}, or HF_TOKEN) needs write access there. Where the "
                "Hub cannot be reached, run it again later, or give --no-state to begin afresh.",
            ) from None
        if not private:
            raise UsageError(
                f"state: {self._repository} is public, and anybody could read unfinished work there",
                hint=f"Make it private, or name another in state.{REPOSITORY.name}.",
            )

    def job(self, job_id: str) -> JobStore:
        """See `Store`."""
        return _Branch(self._repository, job_id, self._retry)

    def _is_private(self) -> bool:
        """Whether nobody else sees the repository, which is made where there is none."""
        from huggingface_hub.errors import RepositoryNotFoundError

        api = _api()
        try:
            info = self._retry.call(lambda: api.model_info(self._repository))
        except RepositoryNotFoundError:
            # Where it is there and hidden from this token, the Hub says so now.
            self._retry.call(lambda: api.create_repo(self._repository, private=True))
            return True
        if info.private:
            self._retry.call(lambda: api.auth_check(self._repository, write=True))
        return bool(info.private)


class _Branch(JobStore):
    def __init__(self, repository: str, job_id: str, retry: Retry) -> None:
        self._repository = repository
        # What git takes as a part of a branch's name; a job's id has nothing else that it does not.
        self._branch = f"state-{re.sub(r'[.]{2,}', '-', job_id)}"
        self._message = f"State of {job_id}"
        self._retry = retry
        self._head: str | None = None
        """The branch's commit when the index was read."""
        self._mark = self._branch.encode()
        """Ends every piece. The same bytes in two branches would be one object of the repository's storage,
        and removing it for one job would take it from the other."""
        self._put: dict[str, CommitOperationAdd] = {}
        self._gone: set[str] = set()
        """Objects that no commit names any more, and that may still be in the storage, by their sha256."""

    def index(self) -> bytes | None:
        from huggingface_hub.errors import EntryNotFoundError

        with _explained(self._repository):
            self._head = self._commit_of_branch()
            if self._head is None:
                return None
            try:
                return self._read(_INDEX, self._head, MAX_INDEX_BYTES)
            except EntryNotFoundError:
                return None

    def pieces(self) -> Collection[str]:
        with _explained(self._repository):
            return self._objects_at(self._head).keys()

    def get(self, piece: str, size: int) -> bytes:
        with _explained(self._repository):
            assert self._head is not None
            data = self._read(_path(piece), self._head, size + len(self._mark))
        return data.removesuffix(self._mark)

    def put(self, piece: str, data: bytes) -> None:
        from huggingface_hub import CommitOperationAdd

        addition = CommitOperationAdd(path_in_repo=_path(piece), path_or_fileobj=data + self._mark)
        with _explained(self._repository), progress_bars():
            # It is sent at once, and its memory is free again.
            parsed(lambda: _api().preupload_lfs_files(self._repository, [addition], gitignore_content=""))
        self._put[piece] = addition

    def commit(self, index: bytes, pieces: Collection[str]) -> None:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        api = _api()
        with _explained(self._repository), progress_bars():
            if self._head is None:
                self._retry.call(
                    lambda: api.create_branch(self._repository, branch=self._branch, exist_ok=True)
                )
                self._head = self._commit_of_branch()
            there = self._objects_at(self._head)
            operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
                CommitOperationAdd(path_in_repo=_INDEX, path_or_fileobj=index),
                *(addition for piece, addition in self._put.items() if piece in pieces),
                *(CommitOperationDelete(path_in_repo=_path(piece)) for piece in there.keys() - set(pieces)),
            ]
            parsed(
                lambda: api.create_commit(
                    self._repository,
                    operations,
                    commit_message=self._message,
                    revision=self._branch,
                    parent_commit=self._head,
                )
            )
        self._gone |= self._sent() | {sha256 for piece, sha256 in there.items() if piece not in pieces}
        self._put.clear()

    def tidy(self, pieces: Collection[str]) -> None:
        with _explained(self._repository):
            objects = self._objects_at(self._commit_of_branch())
            self._gone -= {sha256 for piece, sha256 in objects.items() if piece in pieces}
            self._retry.call(
                lambda: _api().super_squash_history(
                    self._repository, branch=self._branch, commit_message=self._message
                )
            )
            self._forget()

    def remove(self) -> None:
        from huggingface_hub.errors import RevisionNotFoundError

        with _explained(self._repository):
            head = self._commit_of_branch()
            self._gone |= {*self._objects_at(head).values(), *self._sent()}
            if head is not None:
                # An earlier attempt may have removed it, and its answer was lost.
                with suppress(RevisionNotFoundError):
                    self._retry.call(lambda: _api().delete_branch(self._repository, branch=self._branch))
            self._forget()

    def _forget(self) -> None:
        """Remove what no commit names any more from the repository's storage."""
        if not self._gone:
            return
        api = _api()
        stored = self._retry.call(lambda: list(api.list_lfs_files(self._repository)))
        gone = [file for file in stored if {file.file_oid, file.oid} & self._gone]
        # No history to rewrite: it was squashed, or went with the branch.
        self._retry.call(
            lambda: api.permanently_delete_lfs_files(self._repository, gone, rewrite_history=False)
        )
        self._gone.clear()

    def _commit_of_branch(self) -> str | None:
        from huggingface_hub.errors import RevisionNotFoundError

        try:
            info = self._retry.call(lambda: _api().model_info(self._repository, revision=self._branch))
        except RevisionNotFoundError:
            return None
        return info.sha

    def _objects_at(self, commit: str | None) -> dict[str, str]:
        """The pieces at a commit, each with the sha256 of its object in the storage."""
        files = {} if commit is None else list_files(_api(), self._repository, commit)
        found = ((_PIECE.fullmatch(path), file.sha256) for path, file in files.items())
        return {match[1]: sha256 or "" for match, sha256 in found if match is not None}

    def _sent(self) -> set[str]:
        """The objects that were put and are in no commit yet."""
        return {addition.upload_info.sha256.hex() for addition in self._put.values()}

    def _read(self, path: str, commit: str, limit: int) -> bytes:
        return read_small(_api(), self._repository, path, commit, limit=limit, retry=self._retry)


def _api() -> HfApi:
    return hub_client(state_token())


def _path(piece: str) -> str:
    # Files of that ending are large ones in every repository of the Hub.
    return f"pieces/{piece}.bin"


@contextmanager
def _explained(repository: str) -> Iterator[None]:
    import httpx2

    try:
        yield
    except TooLargeError as error:
        raise StoreError(str(error)) from None
    except (OSError, httpx2.HTTPError) as error:
        # The client's own text may quote a signed address; the cause is left to nobody's log.
        message = explain_publishing(error, repository)[0]
        raise StoreError(message.removeprefix(f"{repository}: ")) from None
    except (ValueError, RuntimeError) as error:
        # What the storage refused.
        raise StoreError(quote(str(error))) from None
