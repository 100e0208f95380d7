"""What `publish.to` may say in this version."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantize_lib.errors import ExitCode, UsageError
from quantize_lib.publish import get_publisher
from quantize_lib.publish.directory import DirectoryPublisher
from quantize_lib.types import PublishSpec


@pytest.fixture(autouse=True)
def no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return tmp_path / "hf"


def test_a_directory_is_the_default(tmp_path: Path) -> None:
    assert isinstance(get_publisher(PublishSpec(path=tmp_path)), DirectoryPublisher)


def test_the_hub_without_a_token_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="needs a token with write access, and there is none") as caught:
        get_publisher(PublishSpec(to="hub"))
    assert caught.value.exit_code is ExitCode.USAGE


def test_the_hub_with_a_token_is_said_not_to_be_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(UsageError, match="not in this version") as caught:
        get_publisher(PublishSpec(to="hub"))
    assert "hf_secret" not in str(caught.value)


def test_a_token_that_hf_auth_login_left_counts(no_token: Path) -> None:
    no_token.mkdir()
    (no_token / "token").write_text("hf_secret\n")
    with pytest.raises(UsageError, match="not in this version"):
        get_publisher(PublishSpec(to="hub"))
