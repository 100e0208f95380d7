"""What the Hub's client raises, as errors that say what happened and what to do next (`hub.causes`)."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from quantize_lib.errors import PublishError, QuantizerError, SourceError
from quantize_lib.hub.causes import CAUSES, Words
from quantize_lib.hub.credentials import read_token, redact, write_token
from quantize_lib.hub.retry import BadAnswerError, asked_wait
from quantize_lib.text import plain

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

_LONGEST_QUOTE = 300


@contextmanager
def reading_errors(
    repository: str,
    revision: str,
    *,
    kind: str = "model",
    family: type[QuantizerError] = SourceError,
    alternative: str = "A local folder works too: ./folder.",
) -> Iterator[None]:
    """Turn the errors of huggingface_hub and its transport into one of ours, while something is read.

    Args:
        repository: Hub id, for the message.
        revision: what was asked for.
        kind: `model` or `data set`.
        family: the class that is raised.
        alternative: what works without the Hub; ends the hint.

    Raises:
        QuantizerError: of the class `family`.
    """
    import httpx2
    from huggingface_hub.errors import HFValidationError

    try:
        yield
    except (OSError, httpx2.HTTPError, HFValidationError) as error:
        folder = "datasets/" if kind == "data set" else ""
        values = {
            "shown": f"{kind} {repository}",
            "repository": repository,
            "revision": revision,
            "page": f"https://huggingface.co/{folder}{repository}",
        }
        words = next(cause.reading for name in _causes(error) if (cause := CAUSES[name]).reading is not None)
        message, hint = _filled(words, values | _facts(error))
        raise family(redact(message), hint=f"{hint} {alternative}") from error


@contextmanager
def publishing_errors(repository: str) -> Iterator[None]:
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
        message, hint = explain_publishing(error, repository)
        # The client's own text may quote a signed address; the cause is left to nobody's log.
        raise PublishError(message, hint=hint) from None


def explain_publishing(error: Exception, repository: str) -> Words:
    """What happened while something was published, and what to do next; without a token in it."""
    words = next(
        cause.publishing for name in _causes(error) if (cause := CAUSES[name]).publishing is not None
    )
    values = {"repository": repository, "namespace": repository.partition("/")[0]}
    return _filled(words, values | _facts(error))


def quote(text: str) -> str:
    """Foreign text in one short line without tokens; of addresses no query, which may be a signature."""
    line = plain(redact(text))
    words = (word.partition("?")[0] if "://" in word else word for word in line.split(" "))
    line = " ".join(words)
    return line if len(line) <= _LONGEST_QUOTE else line[:_LONGEST_QUOTE] + "…"


def _filled(words: Words, values: Mapping[str, object]) -> Words:
    message, hint = words
    return message.format(**values), hint.format(**values)


def _causes(error: BaseException) -> Iterator[str]:
    """Names of the table, the most specific first; the last one has words for both sides."""
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError():
            yield "gated"
        case errors.DisabledRepoError():
            yield "disabled"
        case errors.RepositoryNotFoundError():
            if error.response.status_code == 401:
                yield "missing, without a token"
            yield "missing"
        case errors.RevisionNotFoundError():
            yield "no revision"
            yield from _causes_of_status(error)
        case errors.OfflineModeIsEnabled():
            yield "offline"
        case errors.LocalEntryNotFoundError() if isinstance(error.__cause__, Exception):
            # What kept the client from a file that its cache does not hold either.
            yield from _causes(error.__cause__)
        case errors.HFValidationError():
            yield "name"
        case errors.HfHubHTTPError():
            yield from _causes_of_status(error)
        case BadAnswerError():
            yield from ("bad answer", "connection")
        case OSError():
            if error.errno == errno.ENOSPC:
                yield "disk full"
            if error.errno in (errno.EACCES, errno.EROFS):
                yield "not writable"
            if error.filename is not None:
                yield "file"
            yield "connection"
        case _:
            yield "connection"


def _causes_of_status(error: HfHubHTTPError) -> Iterator[str]:
    status = error.response.status_code
    if status in (401, 403):
        if not _is_of_hub(str(error.response.url)):
            yield "storage"
        elif (shown := _token_shown(error)) is not None:
            yield shown
    if status in (409, 412):
        yield "conflict"
    if status == 429 and asked_wait(error) is not None:
        yield "429, with a time"
    if str(status) in CAUSES:
        yield str(status)
    if status >= 500:
        yield "5xx"
    yield "status"


def _facts(error: BaseException) -> dict[str, object]:
    """What the words may say of an error."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        return _facts(error.__cause__)
    text = str(error).strip()
    first = next(iter(text.splitlines()), "")
    kind = type(error).__name__
    facts: dict[str, object] = {"line": quote(first) or kind, "quote": quote(text) or kind}
    if isinstance(error, HfHubHTTPError):
        status, answer = error.response.status_code, quote(error.server_message or "")
        facts |= {
            "status": status,
            "answer": f"{status} ({answer})" if answer else str(status),
            "wait": asked_wait(error) or 0.0,
        }
    elif isinstance(error, OSError):
        facts |= {"file": error.filename, "reason": error.strerror}
    return facts


def _token_shown(error: HfHubHTTPError) -> str | None:
    """Which token was shown, where it is not the one for publishing."""
    _, _, token = error.response.request.headers.get("Authorization", "").partition(" ")
    if not token or token == write_token():
        return None
    return "reading token" if token == read_token() else "traded token"


def _is_of_hub(url: str) -> bool:
    from huggingface_hub import constants

    asked = urlsplit(url)
    # A mirror may lead to the Hub itself.
    return asked[:2] == urlsplit(constants.ENDPOINT)[:2] or asked.path.startswith("/api/")
