"""Options: keys of the manifest that belong to some entries of an axis only, and their values."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast

from quantize_lib.names import absolute

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Option(Generic[T]):
    """One key of the manifest that belongs to some entries of an axis, as a folder does to one target.

    Attributes:
        name: the key.
        default: what is taken where a manifest says nothing.
        words: the JSON Schema of its value in a manifest, with `title` and `description`, without `default`.
        written: the JSON Schema of its value in a report, where that is another one.
        always_written: whether plans and reports have it for every entry, as null where it is another's.
        for_others: whether a manifest may give it for another entry, which then takes no notice of it.
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

    def resolve(self, value: Any, base: Path) -> T:  # noqa: ARG002 - paths need it
        """The value of a checked manifest.

        Args:
            value: as the manifest has it.
            base: the folder that its paths are relative to.
        """
        return cast(T, value)

    def to_plan(self, value: T) -> Any:
        """The value for a plan, as JSON has it."""
        return value

    def to_report(self, value: T, folder: Path) -> Any:  # noqa: ARG002 - paths need it
        """The value for a report in a folder, as JSON has it."""
        return value

    def from_report(self, value: Any, folder: Path) -> T:  # noqa: ARG002 - paths need it
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
    """For an entry whose options have nothing to do with each other."""
    return iter(())


class HasOptions(Protocol):
    """An entry of an axis, as far as its options go."""

    @property
    def name(self) -> str:
        """In manifests."""

    @property
    def label(self) -> str:
        """What it is, for people; `{option}` is that option's value."""

    @property
    def options(self) -> tuple[Option[Any], ...]:
        """What only it takes."""


@dataclass(frozen=True, kw_only=True)
class OptionValues:
    """Values of an entry's options.

    Attributes:
        options: by name; read them by `values[OPTION]`.
    """

    options: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, option: Option[T]) -> T:
        """The value of an option; its default where it is another entry's."""
        return cast(T, self.options.get(option.name, option.default))


def owners_of(entries: Iterable[HasOptions]) -> dict[str, tuple[Option[Any], list[str]]]:
    """Every option by name, with the names of the entries that it belongs to."""
    found: dict[str, tuple[Option[Any], list[str]]] = {}
    for entry in entries:
        for option in entry.options:
            found.setdefault(option.name, (option, []))[1].append(entry.name)
    return found


def own_values(entry: HasOptions, values: Mapping[str, Any]) -> dict[str, Any]:
    """An entry's own of resolved values by name, its defaults where there is none."""
    return {option.name: values.get(option.name, option.default) for option in entry.options}


def resolved(entry: HasOptions, values: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """An entry's own of a checked manifest's values, by name.

    Args:
        base: the folder that the manifest's paths are relative to.
    """
    return {
        option.name: option.resolve(values[option.name], base)
        for option in entry.options
        if option.name in values
    }


def labelled(entry: HasOptions, values: OptionValues) -> str:
    """An entry's label with its options' values."""
    return entry.label.format(**{option.name: option.to_plan(values[option]) for option in entry.options})
