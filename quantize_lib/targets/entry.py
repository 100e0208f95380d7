"""What a target's entry says: everything that is known of it without publishing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from quantize_lib.options import Option, nothing_to_check


@dataclass(frozen=True, kw_only=True)
class Target:
    """A place to publish to. A new one is a file in this folder, and its publisher in `publish/`.

    Attributes:
        name: in manifests and reports.
        order: its place in lists; the first is the default.
        place: what it is, within a sentence ("a folder").
        summary: a few words for the manifest's schema, after its name.
        label: where checkpoints are published to, for people; `{option}` is that option's value.
        publisher: "module:name" of what makes its `publish.base.Publisher` of a `PublishSpec`.
        options: what only it takes.
        check: gives every option that does not go with another, with the reason; it gets a manifest's values.
        credentials: "module:name" of a function that raises a UsageError where there is nothing to log in
            with; None where nothing is needed.
        is_open: whether others than its owner may come to see what is there, so that the base model's terms
            have a say in it.
        keeps_history: whether a publication can be taken back.
        proposes: by which checkpoints are proposed, each by itself, to somebody who lets them in; None where
            there is no such thing.
        checks_cards: whether it refuses a card whose metadata breaks the Hub's rules (`source.card_rules`).
    """

    name: str
    order: int
    place: str
    summary: str
    label: str
    publisher: str
    options: tuple[Option[Any], ...] = ()
    check: Callable[[Mapping[str, Any]], Iterator[tuple[str, str]]] = nothing_to_check
    credentials: str | None = None
    is_open: bool = False
    keeps_history: bool = False
    proposes: Option[bool] | None = None
    checks_cards: bool = False

    @property
    def needs_credentials(self) -> bool:
        """Whether somebody must log in there to publish."""
        return self.credentials is not None
