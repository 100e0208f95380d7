"""The output folder alone; the action carries its `.state` to the next attempt in GitHub's cache."""

from __future__ import annotations

from quantize_lib.state_stores.entry import StateStore

STATE_STORE = StateStore(
    name="cache",
    order=1,
    summary="the output folder, whose `.state` the action keeps in the repository's cache",
    label="the output folder",
)
