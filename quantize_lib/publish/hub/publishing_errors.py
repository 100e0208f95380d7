"""What the Hub's client raises while something is published, as errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from quantize_lib.errors import PublishError
from quantize_lib.hub.credentials import READ, WRITE, read_token, redact, write_token
from quantize_lib.hub.retry import BadAnswerError, asked_wait
from quantize_lib.text import plain

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

_LONGEST_QUOTE = 300
_AGAIN = "Run it again later: what was uploaded already is not sent twice."
_TOKEN = f"{WRITE} (or HF_TOKEN)"


@contextmanager
def hub_errors(repository: str) -> Iterator[None]:
    """Turn the errors of huggingface_hub and its transport into a `PublishError`.

    Args:
        repository: `namespace/name`.

    Raises:
        PublishError: without a token in it, whatever the client or the server quoted.
    """
    import httpx2
    from huggingface_hub.errors import HFValidationError

    try:
        yield
    except (OSError, httpx2.HTTPError, HFValidationError) as error:
        message, hint = explain(error, repository)
        # The client's own text may quote a signed address; the cause is left to nobody's log.
        raise PublishError(message, hint=hint) from None


@contextmanager
def refused_settings(what: str, hint: str) -> Iterator[None]:
    """Explain that a token may write to a repository, but not change who sees it.

    A traded token is promised to write, and nothing else (https://huggingface.co/docs/hub/trusted-publishers).

    Args:
        what: what follows for the repository.
        hint: what a person can do about it.

    Raises:
        PublishError: for the answer 403.
    """
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except HfHubHTTPError as error:
        if error.response.status_code != 403:
            raise
        told, more = explain(error, what.partition(" ")[0])
        raise PublishError(f"{what}: {told}", hint=f"{hint} {more}") from None


def refused_content(repository: str, error: Exception) -> PublishError:
    """What the client says in a plain ValueError or RuntimeError: the card, or large files, are not taken."""
    import httpx2

    cause = error.__cause__
    if isinstance(cause, OSError | httpx2.HTTPError):
        message, hint = explain(cause, repository)
        return PublishError(message, hint=hint)
    return PublishError(
        f"{repository}: the Hub does not take the files: {_quote(str(error))}",
        hint="What was published before is unchanged.",
    )


def explain(error: Exception, repository: str) -> tuple[str, str]:
    """What happened, and what to do next; without a token in it."""
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError():
            return (
                f"{repository} is gated and this token's account has no access to it",
                "Use the token of an account of its namespace.",
            )
        case errors.DisabledRepoError():
            return f"{repository} was disabled on the Hub", "Ask the Hub's support, or choose another name."
        case errors.RepositoryNotFoundError():
            return (
                f"{repository} does not exist on the Hub, or this token cannot see it",
                f"Check publish.namespace and publish.name, and that {_TOKEN} is of an account that may "
                "write there.",
            )
        case errors.HFValidationError():
            return f"{repository!r} is no name for the Hub", "Use `namespace/name`."
        case errors.HfHubHTTPError():
            return _explain_status(error, repository)
        case errors.OfflineModeIsEnabled():
            return f"{repository} cannot be published: HF_HUB_OFFLINE is set", "Unset it."
        case BadAnswerError():
            return (
                f"{repository}: what answered was not the Hub, or its answer was cut short",
                "Check HF_ENDPOINT and the proxy. " + _AGAIN,
            )
        case OSError() if error.filename is not None:
            # A file of the checkpoint: the client has errors of its own for the Hub.
            return f"{error.filename} cannot be read: {error.strerror}", "Check the output folder's disk."
        case _:
            said = _quote(str(error)) or type(error).__name__
            return f"{repository}: the Hub cannot be reached: {said}", f"Check the connection. {_AGAIN}"


def _explain_status(error: HfHubHTTPError, repository: str) -> tuple[str, str]:
    """Statuses with what each means at the Hub."""
    status = error.response.status_code
    namespace = repository.partition("/")[0]
    said = _quote(error.server_message or "")
    shown = f"{repository}: the Hub answered {status}" + (f" ({said})" if said else "")
    match status:
        case 401 | 403 if not _is_of_hub(str(error.response.url)):
            # Its addresses are signed; no token is shown there.
            hint = (
                "That was not the Hub but the storage that it names for large files: the address had "
                f"expired, or something between refuses it (a proxy, a firewall). {_AGAIN}"
            )
        case 401 | 403 if (shown_token := _token_of(error)) is not None:
            hint = shown_token
        case 401:
            hint = (
                f"The token in {_TOKEN} is wrong, expired or revoked: make a new one with write access under "
                "Settings, Access Tokens."
            )
        case 402:
            hint = f"{namespace} has no room or no plan for it; see its billing page."
        case 403:
            hint = (
                f"The token in {_TOKEN} may not do that: it needs the role `write`, or as a fine-grained "
                f"token write access to the repositories of {namespace}, and its account must be allowed to "
                "write there."
            )
        case 404:
            hint = "It was removed or renamed meanwhile; run it again."
        case 409 | 412:
            hint = "Somebody else changes the repository at the same time; run it again when they are done."
        case 413:
            hint = "A file is larger than the Hub takes."
        case 429:
            wait = asked_wait(error)
            hint = "It asks for patience." if wait is None else f"It asks to wait {wait:.0f} seconds."
            hint += " " + _AGAIN
        case _ if status >= 500:
            hint = f"The trouble is the Hub's. {_AGAIN}"
        case _:
            hint = "What was published before is unchanged."
    return shown, hint


def _token_of(error: HfHubHTTPError) -> str | None:
    """What is wrong with the token that was shown, where it is not the one for publishing."""
    _, _, token = error.response.request.headers.get("Authorization", "").partition(" ")
    if not token or token == write_token():
        return None
    if token == read_token():
        return f"The token in {READ} (or HF_TOKEN) is wrong, expired, or may not read that."
    return (
        "This workflow's identity was traded for a token that writes to that repository and may do nothing "
        f"else: the rest needs {_TOKEN}, or a person."
    )


def _is_of_hub(url: str) -> bool:
    from huggingface_hub import constants

    asked = urlsplit(url)
    # A mirror may lead to the Hub itself.
    return asked[:2] == urlsplit(constants.ENDPOINT)[:2] or asked.path.startswith("/api/")


def _quote(text: str) -> str:
    """Foreign text in one short line without tokens; of addresses no query, which may be a signature."""
    line = plain(redact(text))
    words = (word.partition("?")[0] if "://" in word else word for word in line.split(" "))
    line = " ".join(words)
    return line if len(line) <= _LONGEST_QUOTE else line[:_LONGEST_QUOTE] + "…"
