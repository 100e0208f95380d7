"""Every cause at the Hub has words, for who reads and for who publishes."""

from __future__ import annotations

import errno
from typing import Any

import httpx2
import pytest
from huggingface_hub import errors

from quantize_lib.errors import CalibrationError, PublishError, SourceError
from quantize_lib.hub.causes import CAUSES
from quantize_lib.hub.explanations import publishing_errors, reading_errors
from quantize_lib.hub.retry import BadAnswerError

URL = "https://huggingface.co/api/models/acme/tiny"


def answered(kind: type[errors.HfHubHTTPError], status: int, **headers: str) -> errors.HfHubHTTPError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = httpx2.Response(status, headers=named, request=httpx2.Request("GET", URL))
    return kind(f"{status} for {URL}", response=response)


def not_in_cache(cause: Exception) -> errors.LocalEntryNotFoundError:
    error = errors.LocalEntryNotFoundError("not in the cache")
    error.__cause__ = cause
    return error


def read(error: Exception, **options: Any) -> tuple[str, str]:
    with (
        pytest.raises(options.get("family", SourceError)) as caught,
        reading_errors("acme/tiny", "v1", **options),
    ):
        raise error
    return caught.value.message, str(caught.value.hint)


def published(error: Exception) -> tuple[str, str]:
    with pytest.raises(PublishError) as caught, publishing_errors("acme/tiny"):
        raise error
    return caught.value.message, str(caught.value.hint)


@pytest.mark.parametrize(
    ("error", "reading", "publishing"),
    [
        (
            answered(errors.GatedRepoError, 403),
            "model acme/tiny is gated and this account has no access to it",
            "acme/tiny is gated and this token's account has no access to it",
        ),
        (
            answered(errors.DisabledRepoError, 403),
            "model acme/tiny was disabled on the Hub",
            "acme/tiny was disabled on the Hub",
        ),
        (
            answered(errors.RepositoryNotFoundError, 404),
            "model acme/tiny does not exist on the Hub, or is private",
            "acme/tiny does not exist on the Hub, or this token cannot see it",
        ),
        (
            answered(errors.RevisionNotFoundError, 404),
            "model acme/tiny has no revision 'v1'",
            "acme/tiny: the Hub answered 404",
        ),
        (errors.HFValidationError("no"), "'acme/tiny' is no Hub id", "'acme/tiny' is no name for the Hub"),
        (
            errors.OfflineModeIsEnabled("off"),
            "model acme/tiny cannot be looked up: HF_HUB_OFFLINE is set",
            "acme/tiny cannot be published: HF_HUB_OFFLINE is set",
        ),
        (
            answered(errors.HfHubHTTPError, 401),
            "model acme/tiny cannot be read: the Hub answered 401",
            "acme/tiny: the Hub answered 401",
        ),
        (
            answered(errors.HfHubHTTPError, 429, Retry_After="60"),
            "model acme/tiny cannot be read: the Hub answered 429",
            "acme/tiny: the Hub answered 429",
        ),
        (
            answered(errors.HfHubHTTPError, 418),
            "model acme/tiny cannot be read: the Hub answered 418",
            "acme/tiny: the Hub answered 418",
        ),
        (
            BadAnswerError("the answer was no JSON"),
            "model acme/tiny cannot be fetched: the answer was no JSON",
            "acme/tiny: what answered was not the Hub, or its answer was cut short",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "the disk is full while fetching model acme/tiny",
            "acme/tiny: the Hub cannot be reached: [Errno 28] No space left on device",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "hub/blobs"),
            "hub/blobs cannot be written: Permission denied",
            "hub/blobs cannot be read: Permission denied",
        ),
        (
            httpx2.ConnectError("refused\nby a proxy"),
            "model acme/tiny cannot be fetched: refused",
            "acme/tiny: the Hub cannot be reached: refused by a proxy",
        ),
        (
            httpx2.ReadTimeout(""),
            "model acme/tiny cannot be fetched: ReadTimeout",
            "acme/tiny: the Hub cannot be reached: ReadTimeout",
        ),
        (
            not_in_cache(httpx2.ConnectError("refused")),
            "model acme/tiny cannot be fetched: refused",
            "acme/tiny: the Hub cannot be reached: refused",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_happened_is_said_to_who_reads_and_to_who_publishes(
    error: Exception, reading: str, publishing: str
) -> None:
    message, hint = read(error)
    assert message == reading
    assert hint.endswith(". A local folder works too: ./folder.")
    message, hint = published(error)
    assert message == publishing
    assert hint.endswith(".")


def test_a_data_set_is_called_one() -> None:
    error = answered(errors.GatedRepoError, 403)
    message, hint = read(error, kind="data set", family=CalibrationError, alternative="Or a file.")
    assert message == "data set acme/tiny is gated and this account has no access to it"
    assert "https://huggingface.co/datasets/acme/tiny" in hint
    assert hint.endswith("Or a file.")


def test_braces_in_foreign_text_are_text() -> None:
    assert read(httpx2.ConnectError("{shown} {0}"))[0].endswith("{shown} {0}")
    assert published(httpx2.ConnectError("{shown} {0}"))[0].endswith("{shown} {0}")


@pytest.mark.parametrize("name", CAUSES)
def test_a_cause_has_words_for_somebody(name: str) -> None:
    cause = CAUSES[name]
    assert cause.reading or cause.publishing
    for words in (cause.reading, cause.publishing):
        assert words is None or (not words[0].endswith(".") and words[1].endswith("."))


@pytest.mark.parametrize("name", ["status", "connection"])
def test_what_everything_else_comes_down_to_has_words_for_both(name: str) -> None:
    assert CAUSES[name].reading
    assert CAUSES[name].publishing
