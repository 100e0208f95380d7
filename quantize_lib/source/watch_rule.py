"""Which models of the Hub are found by a rule."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class WatchRule:
    """Which models of the Hub a rule finds. What to make of them is in the manifest's data."""

    organization: str | None = None
    collection: str | None = None
    models: tuple[str, ...] = ("*",)
    """Glob patterns on names, or on ids where a pattern has a `/`."""
    exclude: tuple[str, ...] = ()
    limit: int = 1
    """Models with something to build that one run takes on."""
