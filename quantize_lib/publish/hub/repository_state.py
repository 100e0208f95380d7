"""What a repository on the Hub is found to be: the head of its main branch, and its pull requests."""

from __future__ import annotations

from dataclasses import dataclass

from quantize_lib.card.state import CardState
from quantize_lib.formats import is_weight_file
from quantize_lib.parts import parts_in, place_in
from quantize_lib.publish.base import PublishedState
from quantize_lib.report.records import RECORD_FILE


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a repository is at the moment.

    Attributes:
        commit: of its branch `main`, 40 hex digits.
        private: whether only its namespace sees it.
        gated: whether who wants its files must ask.
        names: its files.
        card: what its card says of the last publication; None where it says nothing.
    """

    commit: str
    private: bool
    gated: bool
    names: frozenset[str]
    card: CardState | None

    @property
    def is_ours(self) -> bool:
        """Whether this tool published it."""
        return self.card is not None or RECORD_FILE in self.names

    @property
    def parts(self) -> tuple[str, ...]:
        """The checkpoints that it holds; none where it holds one, as it is."""
        return () if self.card is None else parts_in(self.names, self.card.parts)

    def state(self, part: str) -> PublishedState:
        """For `Publisher.current`; where essential files are gone, the fingerprint is not believed."""
        card = self.card or CardState()
        weights = any(map(is_weight_file, self.names))
        if part:
            card = card.parts.get(part, CardState())
            weights = bool(card.weights) and self.names.issuperset(card.weights)
        whole = weights and {place_in(part, RECORD_FILE), place_in(part, "config.json")} <= self.names
        return PublishedState(
            fingerprint=card.fingerprint if whole else None,
            commit=self.commit,
            version=card.version,
            rejected=card.rejected,
            inputs=card.inputs,
            choice=card.choice,
        )


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A pull request.

    Attributes:
        revision: its branch.
        waits: whether it is open.
        merged: whether its content is on the main branch.
    """

    title: str
    url: str
    revision: str
    waits: bool
    merged: bool
