"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "failed", "not checked"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found.

    Attributes:
        check: what was looked at: `files`, `report`, `fingerprint`, `signature`, `figures`.
        state: `not checked` where there was nothing to check, or nothing to check it with.
        text: sentences for a person, without a full stop at the end; foreign text in it is in one line.
    """

    check: str
    state: State
    text: str


def ok(check: str, text: str) -> Finding:
    """All is well."""
    return Finding(check=check, state="ok", text=text)


def failed(check: str, text: str) -> Finding:
    """Something is not as it should be."""
    return Finding(check=check, state="failed", text=text)


def not_checked(check: str, text: str) -> Finding:
    """Nothing is known."""
    return Finding(check=check, state="not checked", text=text)
