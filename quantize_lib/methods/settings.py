"""Settings: what they are, and what one cell has of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Generic, Literal, TypeVar, cast

GroupSize = int | Literal["auto"]
Scheme = tuple[int, int]
"""Bits of a layer, and how many of its inputs share a scale (-1: one group for each output)."""
LayerWidth = Scheme | str
"""What a layer may have where each gets its own: bits and group size, or a type of the format's by name."""
AUTO_FORMAT = "auto"
"""The format that is taken where none is named: see `formats.resolve_format`."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting(Generic[T]):
    """One key of a `quantize` entry that belongs to some methods.

    Attributes:
        name: the key.
        default: what is taken where a manifest says nothing.
        words: the JSON Schema of its value, with `title` and `description`.
        label: how the card calls it.
        whose: what it is, in the message for a method that does not take it; None for "it belongs to …".
        bits: the widths at which it means something; None for all.
        bits_note: why it means nothing at others.
    """

    name: str
    default: T
    words: Mapping[str, Any]
    label: str
    whose: str | None = None
    bits: tuple[int, ...] | None = None
    bits_note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Override:
    """Other settings for the modules whose full name matches a glob pattern."""

    modules: str
    bits: int | None = None
    group_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one cell is quantized. What does not belong to the method keeps its default.

    Attributes:
        format: the name of a format, or `auto`.
        modules_to_not_convert: glob patterns on full module names; matching linear layers stay in full
            precision.
        types: of tensors, by name on disk, where they were chosen one by one; only a pass has them.
        own: the method's own settings, by name; read them by `settings[SETTING]`.
    """

    method: str
    bits: int
    format: str = AUTO_FORMAT
    group_size: GroupSize = "auto"
    modules_to_not_convert: tuple[str, ...] = ()
    overrides: tuple[Override, ...] = ()
    types: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, setting: Setting[T]) -> T:
        """The value of a setting; its default where none was set."""
        if setting.name in SHARED:
            return cast(T, getattr(self, setting.name))
        return cast(T, self.own.get(setting.name, setting.default))

    def override_of(self, layer: str) -> Override | None:
        """The override of a layer, by its full name: the first that matches, as in GPTQModel's and vLLM's
        `dynamic`. A `*` matches dots too."""
        return next((one for one in self.overrides if fnmatchcase(layer, one.modules)), None)


SHARED = ("group_size", "modules_to_not_convert", "overrides")
"""Settings that more than their method reads: which layers get what."""


def settings_of(method: str, bits: int, values: Mapping[str, Any]) -> Settings:
    """Settings from plain values by name, as a manifest or a job file has them.

    Args:
        values: of `format` and of settings; lists and mappings where the types have tuples and overrides.
    """
    plain: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    overrides = tuple(
        item if isinstance(item, Override) else Override(**item) for item in plain.get("overrides", ())
    )
    return Settings(
        method=method,
        bits=bits,
        format=plain.get("format", AUTO_FORMAT),
        group_size=plain.get("group_size", "auto"),
        modules_to_not_convert=plain.get("modules_to_not_convert", ()),
        overrides=overrides,
        own={key: value for key, value in plain.items() if key not in ("format", *SHARED)},
    )


def plain_value(value: Any) -> Any:
    """A setting's value as JSON has it."""
    if isinstance(value, Override):
        return {key: item for key, item in asdict(value).items() if item is not None}
    if isinstance(value, tuple):
        return [plain_value(item) for item in value]
    return value
