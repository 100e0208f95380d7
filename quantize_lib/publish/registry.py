"""`publish.to` and what it stands for; a publisher is imported at its first use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from quantize_lib.errors import UsageError
from quantize_lib.types import PublishSpec

if TYPE_CHECKING:
    from quantize_lib.publish.base import Publisher


def get_publisher(spec: PublishSpec) -> Publisher:
    """The publisher that the manifest asks for; called before anything is computed.

    Raises:
        UsageError: `hub`, without a token or, in this version, with one.
        PublishError: where the place can be seen to be unusable.
    """
    if spec.to == "directory":
        from quantize_lib.publish.directory import DirectoryPublisher

        return DirectoryPublisher(spec.path)
    if not _has_hub_token():
        raise UsageError(
            "publish.to: hub needs a token with write access, and there is none",
            hint="Set HF_TOKEN, or publish into a folder with `to: directory`.",
        )
    raise UsageError(
        "publish.to: hub is not in this version",
        hint="Publish into a folder with `to: directory`; `hf upload` takes each repository from there.",
    )


def _has_hub_token() -> bool:
    """In the environment or where `hf auth login` leaves it; seen without importing the Hub's client."""
    if os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN"):
        return True
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    file = Path(os.environ.get("HF_TOKEN_PATH") or home / "token")
    try:
        return bool(file.read_text(encoding="utf-8").strip())
    except OSError:
        return False
