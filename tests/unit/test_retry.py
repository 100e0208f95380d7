"""When the Hub is asked again, how long is waited, and what is said when it was in vain."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from quantize_lib.errors import PublishError
from quantize_lib.hub.explanations import publishing_errors
from quantize_lib.hub.retry import BadAnswerError, Retry, asked_wait, is_passing
from quantize_lib.publish.hub.refusals import refused_content

URL = "https://hub.example/api/models/acme/tiny"


def answered(status: int, message: str | None = None, *, url: str = URL, **headers: str) -> HfHubHTTPError:
    request = httpx2.Request("GET", url)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = httpx2.Response(status, headers=named, request=request)
    return HfHubHTTPError(f"{status} for {URL}", response=response, server_message=message)


class Asked:
    """A request that fails with each of the errors in turn, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def retry(waits: list[float]) -> Retry:
    return Retry(attempts=4, sleep=waits.append)


@pytest.mark.parametrize(
    "error",
    [
        *(answered(status) for status in (408, 429, 500, 502, 503, 504)),
        httpx2.ConnectError("refused"),
        httpx2.ReadTimeout("late"),
        httpx2.RemoteProtocolError("cut"),
        json.JSONDecodeError("no", "<html>", 0),
    ],
)
def test_what_passes_is_tried_again(error: Exception, retry: Retry, waits: list[float]) -> None:
    request = Asked(error)
    assert retry.call(request) == "done"
    assert (request.count, len(waits)) == (2, 1)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 410, 412, 413, 422])
def test_what_does_not_pass_is_not_tried_again(status: int, retry: Retry, waits: list[float]) -> None:
    request = Asked(answered(status))
    with pytest.raises(HfHubHTTPError):
        retry.call(request)
    assert (request.count, waits) == (1, [])


def test_waits_grow_and_end(waits: list[float]) -> None:
    retry = Retry(attempts=6, first_wait=1, longest_wait=5, sleep=waits.append)
    request = Asked(*(answered(503) for _ in range(9)))
    with pytest.raises(HfHubHTTPError):
        retry.call(request)
    assert request.count == 6
    for wait, most in zip(waits, (1, 2, 4, 5, 5), strict=True):
        assert most / 2 <= wait <= most


def test_runners_that_failed_together_do_not_come_back_together() -> None:
    first: list[float] = []
    for _ in range(20):
        Retry(sleep=first.append).call(Asked(answered(503)))
    assert len(set(first)) > 1


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("7", 7, 7),
        ("0", 0, 0),
        (timedelta(seconds=90), 80, 91),
        (timedelta(seconds=-90), 0, 0),
    ],
)
def test_the_server_may_say_how_long_to_wait(
    value: str | timedelta, least: float, most: float, retry: Retry, waits: list[float]
) -> None:
    if isinstance(value, timedelta):
        value = format_datetime(datetime.now(UTC) + value, usegmt=True)
    retry.call(Asked(answered(429, Retry_After=value)))
    assert least <= waits[0] <= most


@pytest.mark.parametrize("value", ["", "soon", "-1", "1.5", "Wed"])
def test_a_wait_that_is_none_is_not_believed(value: str) -> None:
    assert asked_wait(answered(429, Retry_After=value)) is None


def test_a_failed_upload_among_several_is_looked_into() -> None:
    wrapped = RuntimeError("Error while uploading 'x'")
    wrapped.__cause__ = answered(503)
    assert is_passing(wrapped)
    assert not is_passing(RuntimeError("a bug"))


def explained(error: Exception) -> PublishError:
    with pytest.raises(PublishError) as caught, publishing_errors("acme/tiny"):
        raise error
    return caught.value


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (answered(401), "401", "expired"),
        (answered(402), "402", "billing"),
        (answered(403), "403", "role `write`"),
        (answered(403, url="https://storage.example/object?Signature=x"), "403", "the storage"),
        (answered(404), "404", "renamed"),
        (answered(409), "409", "Somebody else"),
        (answered(412), "412", "Somebody else"),
        (answered(429, Retry_After="60"), "429", "60 seconds"),
        (answered(503), "503", "not sent twice"),
        (httpx2.ConnectError("[Errno 111] refused"), "cannot be reached", "connection"),
        (BadAnswerError("no JSON"), "not the Hub", "HF_ENDPOINT"),
        (OSError(28, "No space left on device"), "No space left", "connection"),
    ],
)
def test_every_refusal_says_what_it_is_and_what_to_do(error: Exception, message: str, hint: str) -> None:
    told = explained(error)
    assert "acme/tiny" in told.message
    assert message in told.message
    assert hint in str(told.hint)


@pytest.mark.parametrize(
    ("shown", "hint"),
    [
        ("hf_of_publishing", "The token in HF_TOKEN_WRITE (or HF_TOKEN) may not do that"),
        (
            "hf_of_reading",
            "The token in HF_TOKEN_READ (or HF_TOKEN) is wrong, expired, or may not read that.",
        ),
        ("hf_jwt_traded", "This workflow's identity was traded for a token that writes to that repository"),
    ],
)
def test_the_token_that_was_refused_is_the_one_that_is_named(
    shown: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN_WRITE", "hf_of_publishing")
    monkeypatch.setenv("HF_TOKEN_READ", "hf_of_reading")
    error = answered(403)
    error.response.request.headers["Authorization"] = f"Bearer {shown}"
    with pytest.raises(PublishError) as caught, publishing_errors("acme/tiny"):
        raise error
    assert (caught.value.hint or "").startswith(hint)


def test_a_file_of_ours_that_cannot_be_read_is_not_the_hubs_fault() -> None:
    with pytest.raises(PublishError) as caught, publishing_errors("acme/tiny"):
        raise PermissionError(13, "Permission denied", "out/tiny/config.json")
    assert caught.value.message == "out/tiny/config.json cannot be read: Permission denied"


def test_a_repository_that_is_not_seen_names_both_reasons() -> None:
    response = httpx2.Response(404, request=httpx2.Request("GET", URL))
    told = explained(RepositoryNotFoundError("404", response=response))
    assert "does not exist on the Hub, or this token cannot see it" in told.message


@pytest.mark.parametrize(
    "make",
    [
        lambda text: answered(403, text),
        lambda text: httpx2.ConnectError(text),
        lambda text: refused_content("acme/tiny", ValueError(text)),
    ],
)
def test_foreign_text_brings_no_secret_and_no_line_into_a_message(
    make: Callable[[str], Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN_WRITE", "hf_canaryCanaryCanary")
    text = "no\n::error::x hf_canaryCanaryCanary https://s3.example/x?Signature=abc " + "long " * 200
    error = make(text)
    told = error if isinstance(error, PublishError) else explained(error)
    assert "no" in told.message
    assert "\n" not in told.message
    assert "canary" not in str(told)
    assert "Signature" not in str(told)
    assert len(told.message) < 500


def test_the_clients_own_error_is_not_shown_beside_ours() -> None:
    """Its text may quote a signed address."""
    assert explained(answered(503)).__suppress_context__
