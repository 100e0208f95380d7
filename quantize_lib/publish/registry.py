"""`publish.to` and what it stands for; a publisher is imported at its first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantize_lib.errors import UsageError
from quantize_lib.hub.credentials import WRITE, can_exchange, write_token
from quantize_lib.targets.publish_spec import PublishSpec

if TYPE_CHECKING:
    from quantize_lib.publish.base import Publisher


def get_publisher(spec: PublishSpec) -> Publisher:
    """The publisher that the manifest asks for; called before anything is computed.

    Raises:
        UsageError: `hub`, without a token and without an identity to trade for one.
        PublishError: where the place can be seen to be unusable.
    """
    if spec.to == "hub" and write_token() is None and not can_exchange():
        raise UsageError(
            "publish.to: hub needs a token with write access, and there is none",
            hint=f"Set {WRITE} (or HF_TOKEN), give the workflow's job the permission `id-token: write` and "
            "the repository a trusted publisher, or publish into a folder with `to: directory`.",
        )
    return get_reader(spec)


def get_reader(spec: PublishSpec) -> Publisher:
    """As `get_publisher`, to find out what is published alone: the Hub tells much of that without a token.

    Raises:
        PublishError: as `get_publisher`.
    """
    if spec.to == "directory":
        from quantize_lib.publish.directory.publisher import DirectoryPublisher

        return DirectoryPublisher(spec.path)
    from quantize_lib.publish.hub.publisher import HubPublisher

    return HubPublisher(spec)
