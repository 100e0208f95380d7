"""A Hub model's repository at one commit: what it holds, and whether what arrived is that."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from quantize_lib.errors import SourceError
from quantize_lib.files import feed, git_blob
from quantize_lib.hub.client import hub_client
from quantize_lib.hub.remote_files import RemoteFile, of_siblings
from quantize_lib.hub.retry import READING
from quantize_lib.source.facts import Terms
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.source.terms import terms_of

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A base model at one revision, found out once and used by everything that follows.

    Attributes:
        revision: 40-hex commit of a Hub model; `sha256:…` content hash of a local folder.
        name: what the Hub calls it now, which is another id than was asked for where it was renamed.
        files: what a Hub model's repository holds; nothing for a local folder.
        terms: what binds who passes it on.
    """

    revision: str
    name: str
    files: Mapping[str, RemoteFile] = field(default_factory=dict)
    terms: Terms = field(default_factory=Terms)


def list_model(model: ModelSpec, *, token: str | None) -> Resolved:
    """The commit that a revision stands for, and what is in it: one request.

    Raises:
        SourceError: where the Hub names no commit. The client's own errors are for `hub.explanations`.
    """
    client = hub_client(token)
    info = READING.call(lambda: client.model_info(model.id, revision=model.revision, files_metadata=True))
    if info.sha is None or not _COMMIT.fullmatch(info.sha):
        raise SourceError(
            f"{model.id}: the Hub names no commit for {model.revision!r}", hint="Try again later."
        )
    card = {} if info.card_data is None else info.card_data.to_dict()  # type: ignore[no-untyped-call]
    terms = terms_of(card, gated=info.gated or None, private=info.private is True)
    return Resolved(revision=info.sha, name=info.id, files=of_siblings(info.siblings), terms=terms)


def is_intact(path: Path, file: RemoteFile, *, advance: Callable[[int], None]) -> bool:
    """Whether a file on disk has the bytes that the Hub's list promises.

    Args:
        advance: gets the number of bytes that were compared.
    """
    size = path.stat().st_size
    if size != file.size:
        return False
    # A file that is not in LFS is known by its git object id.
    digest = hashlib.sha256() if file.sha256 else git_blob(size)
    feed(digest, path, advance)
    return (file.sha256 or file.oid) in (None, digest.hexdigest())
