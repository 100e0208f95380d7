"""What `publish.to` may say, and what it needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from quantize_lib.errors import ExitCode, UsageError
from quantize_lib.publish import get_publisher
from quantize_lib.publish.directory.publisher import DirectoryPublisher
from quantize_lib.publish.hub.publisher import HubPublisher
from quantize_lib.targets import publish_spec


@pytest.fixture(autouse=True)
def no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "HF_TOKEN",
        "HF_TOKEN_READ",
        "HF_TOKEN_WRITE",
        "HUGGING_FACE_HUB_TOKEN",
        "HF_OIDC_ID_TOKEN",
        "ACTIONS_ID_TOKEN_REQUEST_URL",
    ):
        monkeypatch.delenv(name, raising=False)
    # The client reads the path at its import.
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    return tmp_path / "token"


def test_a_directory_is_the_default(tmp_path: Path) -> None:
    assert isinstance(get_publisher(publish_spec("directory", path=tmp_path)), DirectoryPublisher)


def test_the_hub_without_a_token_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="needs a token with write access, and there is none") as caught:
        get_publisher(publish_spec("hub"))
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize("name", ["HF_TOKEN_WRITE", "HF_TOKEN"])
def test_the_hub_with_a_token_is_a_publisher(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "hf_secret")
    assert isinstance(get_publisher(publish_spec("hub")), HubPublisher)


def test_a_token_that_may_only_read_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN_READ", "hf_secret")
    with pytest.raises(UsageError, match="needs a token with write access") as caught:
        get_publisher(publish_spec("hub"))
    assert "hf_secret" not in str(caught.value)


def test_a_token_that_hf_auth_login_left_counts(no_token: Path) -> None:
    no_token.write_text("hf_secret\n")
    assert isinstance(get_publisher(publish_spec("hub")), HubPublisher)


def test_a_workflow_whose_identity_can_be_traded_needs_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_OIDC_ID_TOKEN", "eyJ.secret.x")
    assert isinstance(get_publisher(publish_spec("hub")), HubPublisher)
