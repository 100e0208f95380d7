"""Files of a repository on the Hub: how they are listed, fetched, and read in part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantize_lib.hub.client import request_headers
from quantize_lib.hub.retry import Retry, parsed

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import BlobLfsInfo, RepoSibling


class TooLargeError(ValueError):
    """A file has more bytes than it may have."""


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file as the Hub lists it."""

    size: int
    sha256: str | None = None
    """Of a file in LFS."""
    oid: str | None = None
    """Of any other: its git object id, a sha1 over a short header and the bytes."""


def of_siblings(siblings: Iterable[RepoSibling] | None) -> dict[str, RemoteFile]:
    """The files that the Hub names beside what it says of a repository, asked with their metadata."""
    return {file.rfilename: _remote_file(file.size or 0, file.lfs, file.blob_id) for file in siblings or ()}


def list_files(client: HfApi, repository: str, commit: str) -> dict[str, RemoteFile]:
    """Every file of a model's repository at a commit. The client itself asks again where that fails."""
    from huggingface_hub import RepoFile

    tree = parsed(lambda: list(client.list_repo_tree(repository, recursive=True, revision=commit)))
    return {
        file.path: _remote_file(file.size, file.lfs, file.blob_id)
        for file in tree
        if isinstance(file, RepoFile)
    }


def fetch_file(
    client: HfApi,
    repository: str,
    path: str,
    commit: str,
    *,
    retry: Retry,
    bar: type[Any] | None = None,
    force: bool = False,
) -> Path:
    """A file of a model's repository in the Hub's own cache (HF_HOME), fetched where it is not there yet.

    Args:
        bar: is made by the client and receives the bytes that arrive (`tqdm_class`).
        force: fetch it whatever is there.
    """
    return Path(
        retry.call(
            lambda: client.hf_hub_download(
                repository, path, revision=commit, tqdm_class=bar, force_download=force
            )
        )
    )


def read_start(client: HfApi, repository: str, path: str, commit: str, count: int, *, retry: Retry) -> bytes:
    """The first bytes of a file, also from a server that ignores the range and begins to send everything."""
    ranged = {"Range": f"bytes=0-{count - 1}", "Accept-Encoding": "identity"}
    return retry.call(lambda: _read(client, repository, path, commit, ranged, count))[:count]


def read_small(client: HfApi, repository: str, path: str, commit: str, *, limit: int, retry: Retry) -> bytes:
    """A whole small file.

    Raises:
        TooLargeError: where it has more than `limit` bytes.
    """
    data = retry.call(lambda: _read(client, repository, path, commit, {}, limit + 1))
    if len(data) > limit:
        raise TooLargeError(f"{repository}: {path} has more than {limit} bytes")
    return data


def _read(
    client: HfApi, repository: str, path: str, commit: str, more: Mapping[str, str], enough: int
) -> bytes:
    """What is received of a file until there is enough of it.

    Not by the client's http_stream_backoff: it ends in a RuntimeError where the body breaks off.
    """
    from huggingface_hub import get_session, hf_hub_url

    # Exported, but lazily: mypy does not see it.
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

    url = hf_hub_url(repository, path, revision=commit, endpoint=client.endpoint)
    headers = {**request_headers(client), **more}
    data = bytearray()
    with get_session().stream("GET", url, headers=headers, follow_redirects=True) as response:
        hf_raise_for_status(response)
        for piece in response.iter_bytes():
            data += piece
            if len(data) >= enough:
                break
    return bytes(data)


def _remote_file(size: int, lfs: BlobLfsInfo | None, oid: str | None) -> RemoteFile:
    if lfs is None:
        return RemoteFile(size=size, oid=oid)
    return RemoteFile(size=size, sha256=lfs.sha256)
