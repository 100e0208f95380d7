"""The publisher of a target; imported at its first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantize_lib.registry import load
from quantize_lib.targets import PublishSpec, get_target

if TYPE_CHECKING:
    from quantize_lib.publish.base import Publisher


def get_publisher(spec: PublishSpec) -> Publisher:
    """The publisher that the manifest asks for; called before anything is computed.

    Raises:
        UsageError: where it needs credentials, and there are none.
        PublishError: where the place can be seen to be unusable.
    """
    credentials = get_target(spec.to).credentials
    if credentials is not None:
        load(credentials)()
    return get_reader(spec)


def get_reader(spec: PublishSpec) -> Publisher:
    """As `get_publisher`, to find out what is published alone: much of that is reported without credentials.

    Raises:
        PublishError: as `get_publisher`.
    """
    publisher: Publisher = load(get_target(spec.to).publisher)(spec)
    return publisher
