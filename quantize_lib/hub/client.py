"""The one place where the Hub's client is made: with its time limits, our name, and the token that is meant.

It takes HF_ENDPOINT, proxies and certificates from the environment.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from quantize_lib import __version__
from quantize_lib.hub.time_limits import limit_waits

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_LIBRARY = "model-quantizer"


def hub_client(token: str | None) -> HfApi:
    """A client of the Hub.

    Args:
        token: None to ask without one; what a login left is then not used either.
    """
    from huggingface_hub import HfApi

    limit_waits()
    return HfApi(token=token or False, library_name=_LIBRARY, library_version=__version__)


def request_headers(client: HfApi) -> dict[str, str]:
    """What a client's own requests say of token and name, for one that is made without it."""
    # Exported, but lazily: mypy does not see it.
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    headers: dict[str, str] = build_hf_headers(
        token=client.token, library_name=client.library_name, library_version=client.library_version
    )
    return headers


def progress_bars() -> AbstractContextManager[object]:
    """The client's own progress bars on a terminal; in a log they would be a line for every second."""
    # Exported, but lazily: mypy does not see it.
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    return nullcontext() if sys.stderr.isatty() else disable_progress_bars()
