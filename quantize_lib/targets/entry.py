"""What a target's entry says: everything that is known of it without publishing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

from quantize_lib.names import absolute

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Option(Generic[T]):
    """One key of the manifest's `publish` that belongs to one target.

    Attributes:
        name: the key.
        default: what is taken where a manifest says nothing.
        words: the JSON Schema of its value in a manifest, with `title` and `description`, without `default`.
        written: the JSON Schema of its value in a report, where that is another one.
        always_written: whether plans and reports have it for every target, as null where it is another's.
        for_others: whether a manifest may give it for another target, which then takes no notice of it.
    """

    name: str
    default: T
    words: Mapping[str, Any]
    written: Mapping[str, Any] = field(default_factory=dict)
    always_written: bool = False
    for_others: bool = False

    in_plan: ClassVar[str] = ""
    """What is to be known of its value in a plan, after the description."""
    in_report: ClassVar[str] = ""
    """As `in_plan`, of a report."""

    def resolve(self, value: Any, base: Path) -> T:
        """The value of a checked manifest.

        Args:
            value: as the manifest has it.
            base: the folder that its paths are relative to.
        """
        return cast(T, value)

    def to_plan(self, value: T) -> Any:
        """The value for a plan, as JSON has it."""
        return value

    def to_report(self, value: T, folder: Path) -> Any:
        """The value for a report in a folder, as JSON has it."""
        return value

    def from_report(self, value: Any, folder: Path) -> T:
        """The value that a report in a folder has."""
        return cast(T, value)

    @property
    def manifest_words(self) -> dict[str, Any]:
        """The JSON Schema of its value in a manifest, with its default."""
        default = {} if self.default is None else {"default": self.to_plan(self.default)}
        return {**self.words, **default}

    @property
    def written_words(self) -> Mapping[str, Any]:
        """The JSON Schema of its value in a report."""
        if self.written:
            return self.written
        kind = self.words["type"]
        return {"type": [kind, "null"] if self.default is None else kind}


class PathOption(Option[Path]):
    """A file or a folder: in a manifest relative to that."""

    in_plan = " Absolute."
    in_report = " Relative to the report's folder."

    def resolve(self, value: Any, base: Path) -> Path:
        """See `Option`."""
        return absolute(value, base)

    def to_plan(self, value: Path) -> str:
        """See `Option`."""
        return value.as_posix()

    def to_report(self, value: Path, folder: Path) -> str:
        """See `Option`: relative, so that an output folder can travel together with what is beside it."""
        return os.path.relpath(value, folder.resolve())

    def from_report(self, value: Any, folder: Path) -> Path:
        """See `Option`."""
        return Path(os.path.normpath(folder.resolve() / value))


def nothing_to_check(_: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """For a target whose options have nothing to do with each other."""
    return iter(())


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
