"""Which token is used for what, and how none of them gets into a text.

Reading, writing and the state of unfinished jobs have tokens of their own; HF_TOKEN serves all where there is
but one. In a
GitHub workflow with `id-token: write` no token need be stored: the Hub's client trades GitHub's proof of
identity for one that lives an hour and writes to one repository
(https://huggingface.co/docs/hub/trusted-publishers).
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from quantize_lib.errors import PublishError, UsageError
from quantize_lib.hub.retry import Retry

READ = "HF_TOKEN_READ"
WRITE = "HF_TOKEN_WRITE"
STATE = "HF_TOKEN_STATE"

_SECRETS = (
    READ,
    WRITE,
    STATE,
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_OIDC_ID_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_RUNTIME_TOKEN",
    "GITHUB_TOKEN",
    "GH_TOKEN",
)
"""Environment variables that may hold one."""
_RESOURCE = "HF_OIDC_RESOURCE"
"""Tells the Hub's client for which repository it is to ask for a token."""
_SHORTEST = 8
"""A shorter value is no token, and would take half of every message with it."""
_SHAPES = re.compile(r"\bhf_(?:[A-Za-z]{34}\b|(?:jwt|oauth)_[\w.+/=-]+)|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*")
"""Tokens of the Hub, and JSON web tokens from anywhere."""
_HIDDEN = "[token]"

_handed_out: set[str] = set()
_exchange = threading.Lock()


def read_token() -> str | None:
    """The token for downloads: HF_TOKEN_READ, else HF_TOKEN, else what `hf auth login` left."""
    return _from_environment(READ) or _of_client()


def write_token() -> str | None:
    """The token for publishing: HF_TOKEN_WRITE, else HF_TOKEN, else what `hf auth login` left."""
    return _from_environment(WRITE) or _of_client()


def state_token() -> str | None:
    """The token for the state of unfinished jobs: HF_TOKEN_STATE, else the one for publishing."""
    return _from_environment(STATE) or write_token()


def can_exchange() -> bool:
    """Whether this is a workflow whose identity the Hub may take for a token."""
    return bool(
        os.environ.get("HF_OIDC_ID_TOKEN")
        or (
            os.environ.get("GITHUB_ACTIONS") == "true"
            and os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL")
            and os.environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
        )
    )


def need_write_access() -> None:
    """Find out before anything is computed that there is nothing to publish with.

    Raises:
        UsageError: where there is neither a token nor an identity to trade for one.
    """
    if write_token() is None and not can_exchange():
        raise UsageError(
            "publish.to: hub needs a token with write access, and there is none",
            hint=f"Set {WRITE} (or HF_TOKEN), give the workflow's job the permission `id-token: write` and "
            "the repository a trusted publisher, or publish into a folder with `to: directory`.",
        )


def publishing_token(repository: str) -> str:
    """The token to publish into one repository with: `write_token`, else one traded for our identity.

    Call it when it is needed: a traded token lives an hour. It is kept in this process's memory alone, and
    the Hub's client trades a new one shortly before the old one ends.

    Args:
        repository: `namespace/name`.

    Raises:
        UsageError: where there is neither.
        PublishError: where the Hub does not take this workflow's identity for this repository.
    """
    token = write_token()
    if token is not None:
        return token
    need_write_access()
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, OIDCError

    try:
        with _resource(repository):
            traded = Retry().call(_of_client)
    except (OSError, httpx2.HTTPError, OIDCError, KeyError, ValueError) as error:
        answer = str(error)
        if isinstance(error, HfHubHTTPError):
            answer = f"the Hub answered {error.response.status_code}"
        raise PublishError(
            f"{repository}: this workflow's identity was not taken for a token: {redact(answer)}",
            hint="The repository must exist and name this workflow under Settings, Trusted Publishers. A new "
            f"repository is made once by hand (`hf repos create {repository} --private`), or by a first "
            f"publication with {WRITE}.",
        ) from None
    if traded is None:
        raise PublishError(f"{repository}: the Hub's client traded this workflow's identity for no token")
    return traded


def redact(text: str) -> str:
    """A text without the tokens that this process knows of, and without what looks like one.

    Everything that quotes a server, a library or an exception goes through here.
    """
    known = {value for name in _SECRETS if len(value := os.environ.get(name, "").strip()) >= _SHORTEST}
    for secret in sorted(known | _handed_out, key=len, reverse=True):
        for form in {secret, quote(secret, safe="")}:
            text = text.replace(form, _HIDDEN)
    return _SHAPES.sub(_HIDDEN, text)


def _from_environment(name: str) -> str | None:
    return os.environ.get(name, "").strip() or None


def _of_client() -> str | None:
    """What the Hub's client finds: HF_TOKEN, or the login, which it refreshes where that is needed."""
    from huggingface_hub import get_token

    token = get_token()
    if token is not None and len(token) >= _SHORTEST:
        _handed_out.add(token)
    return token


@contextmanager
def _resource(repository: str) -> Iterator[None]:
    """Tell the client which repository to ask for; by the environment, which is all it offers."""
    with _exchange:
        before = os.environ.get(_RESOURCE)
        os.environ[_RESOURCE] = repository
        try:
            yield
        finally:
            if before is None:
                del os.environ[_RESOURCE]
            else:
                os.environ[_RESOURCE] = before
