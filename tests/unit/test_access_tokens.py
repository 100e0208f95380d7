"""Which token is used for what, and that none gets into a text."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from quantize_lib.errors import UsageError
from quantize_lib.hub.credentials import can_exchange, publishing_token, read_token, redact, write_token

NAMES = (
    "HF_TOKEN",
    "HF_TOKEN_READ",
    "HF_TOKEN_WRITE",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_OIDC_RESOURCE",
    "HF_OIDC_ID_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "GITHUB_ACTIONS",
)


@pytest.fixture(autouse=True)
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `hf auth login` would leave its token; no variable is set."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    return tmp_path / "token"


def test_without_any_token_there_is_none() -> None:
    assert read_token() is None
    assert write_token() is None


def test_reading_and_writing_have_tokens_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HF_TOKEN_READ", "HF_TOKEN_WRITE"):
        monkeypatch.setenv(name, f"value-of-{name}")
    assert read_token() == "value-of-HF_TOKEN_READ"
    assert write_token() == "value-of-HF_TOKEN_WRITE"


def test_hf_token_serves_both_where_they_are_not_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "for-everything")
    assert (read_token(), write_token()) == ("for-everything", "for-everything")


def test_a_token_for_one_is_never_used_for_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN_READ", "reads-only")
    assert write_token() is None
    monkeypatch.delenv("HF_TOKEN_READ")
    monkeypatch.setenv("HF_TOKEN_WRITE", "writes-only")
    assert read_token() is None


def test_what_hf_auth_login_left_comes_last(login: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    login.write_text("hf_from_login\n")
    assert (read_token(), write_token()) == ("hf_from_login", "hf_from_login")
    monkeypatch.setenv("HF_TOKEN", "for-everything")
    assert read_token() == "for-everything"


def test_an_empty_variable_is_none_as_an_unset_secret_in_a_workflow_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HF_TOKEN", "HF_TOKEN_READ", "HF_TOKEN_WRITE"):
        monkeypatch.setenv(name, " \n")
    assert (read_token(), write_token()) == (None, None)


def test_publishing_without_token_and_identity_says_what_to_set() -> None:
    with pytest.raises(UsageError, match="needs a token with write access, and there is none") as caught:
        publishing_token("acme/m")
    assert "HF_TOKEN_WRITE" in str(caught.value)
    assert "id-token: write" in str(caught.value)


def test_the_write_token_goes_before_an_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_OIDC_ID_TOKEN", "an-identity")
    monkeypatch.setenv("HF_TOKEN_WRITE", "writes-only")
    assert publishing_token("acme/m") == "writes-only"


def test_an_exchange_needs_both_variables_of_a_workflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "http://127.0.0.1:1")
    assert not can_exchange()
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "requests-identities")
    assert can_exchange()


@pytest.mark.parametrize("name", ["HF_TOKEN", "HF_TOKEN_READ", "HF_TOKEN_WRITE", "GITHUB_TOKEN"])
def test_a_known_token_is_hidden_plain_and_percent_encoded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "se+cr/et value")
    assert redact("a se+cr/et value b se%2Bcr%2Fet%20value c") == "a [token] b [token] c"


def test_a_token_from_the_login_is_hidden_once_it_was_used(login: Path) -> None:
    login.write_text("left-by-login")
    assert read_token() == "left-by-login"
    assert redact("401 for left-by-login") == "401 for [token]"


@pytest.mark.parametrize(
    "text",
    [
        "hf_" + "aB" * 17,
        "hf_jwt_abc.def-ghi",
        "hf_oauth_abcdef",
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl",
    ],
)
def test_what_looks_like_a_token_is_hidden(text: str) -> None:
    assert redact(f"the answer was {text!r}") == "the answer was '[token]'"


@pytest.mark.parametrize("text", ["acme/hf_model-4bit", "hf_jwt", "a" * 64, "publish.to: hub"])
def test_names_and_hashes_are_shown(text: str) -> None:
    assert redact(text) == text


def test_a_value_too_short_for_a_token_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "x")
    assert redact("exit code 3") == "exit code 3"
