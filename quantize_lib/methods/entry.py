"""What a method's entry says: everything that is known of it without computing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from quantize_lib.methods.common import MODULES_TO_NOT_CONVERT
from quantize_lib.methods.settings import Setting, Settings

BITS = "bits"
"""The key of an entry that says how many bits weights get."""
GRID = "grid"
"""The result of a method that gives whole-number codes on a grid of scales and zero points."""


@dataclass(frozen=True, kw_only=True)
class InputShape:
    """The layers of a block that share one input, as a method's memory is counted.

    Attributes:
        square: bytes of XᵀX in float32.
        together: bytes of all their weights in float32.
        largest: bytes of the largest of them.
        layers: how many they are.
    """

    square: int
    together: int
    largest: int
    layers: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Method:
    """A way of rounding weights. A new one is a file in this folder, and one in the engine.

    Attributes:
        name: in manifests and job files.
        slug: in cell ids and repository names.
        title: for people.
        order: its place in lists; the first is the command line's default.
        summary: a few words for the manifest's schema.
        bits: the widths that it rounds to.
        bits_note: why there are these, in the message for another width.
        experimental: those of them that are allowed but experimental.
        calibrated: whether calibration text has a part in what it makes.
        settings: what it takes beside `bits` and `format`, in the order in which they are shown.
        always_hashed: those that were there when cells were first published; they are in every fingerprint.
        also_called: words that people try for it.
        not_taken: why it does not take another method's setting, by name.
        result: `GRID`, or the name of what its own library stores.
        formats: formats in the order in which `auto` tries them; the first is its own.
        symmetric: the setting by which the zero points are in the middle; None for never, unless the format
            wants it.
        reordered: the setting by which groups follow the order of rounding; None for never.
        rounder: "module:name" of what makes its part in the engine (`engine.methods.base.Rounder`).
        library_bytes: resident memory of libraries that it alone needs.
        width: the setting that stands in an entry in place of `bits`; None where that is `bits` itself.
        width_bits: the bits that each of its values means; of those with the same the first is the usual one.
        tried_by: the name of the method with whose rounding it is measured what each layer's choice costs,
            where layers get their own; None for itself.
    """

    name: str
    slug: str
    title: str
    order: int
    summary: str
    bits: tuple[int, ...]
    bits_note: str
    calibrated: bool
    settings: tuple[Setting[Any], ...]
    formats: tuple[str, ...]
    rounder: str
    experimental: tuple[int, ...] = ()
    always_hashed: tuple[str, ...] = (MODULES_TO_NOT_CONVERT.name,)
    also_called: tuple[str, ...] = ()
    not_taken: Mapping[str, str] = field(default_factory=dict)
    result: str = GRID
    symmetric: Setting[bool] | None = None
    reordered: Setting[bool] | None = None
    library_bytes: int = 0
    width: Setting[str] | None = None
    width_bits: Mapping[str, int] = field(default_factory=dict)
    tried_by: str | None = None

    @property
    def width_key(self) -> str:
        """The key of an entry that says how wide weights are: `bits`, or the setting in its place."""
        return BITS if self.width is None else self.width.name

    def width_of(self, bits: int) -> int | str | None:
        """What stands in an entry for so many bits; None where nothing does."""
        if self.width is None:
            return bits
        return next((value for value, means in self.width_bits.items() if means == bits), None)

    def takes(self, setting: Setting[Any], bits: int) -> bool:
        """Whether a setting means something to it at a width."""
        return setting in self.settings and (setting.bits is None or bits in setting.bits)

    def is_symmetric(self, settings: Settings) -> bool:
        """Whether the settings ask for zero points in the middle."""
        return self.symmetric is not None and settings[self.symmetric]

    def is_reordered(self, settings: Settings) -> bool:
        """Whether groups follow the order of rounding."""
        return self.reordered is not None and settings[self.reordered]

    def folds(self, settings: Settings) -> bool:
        """Whether it scales inputs, so that places to undo that have to be found."""
        return False

    def remark(self, settings: Settings) -> str | None:
        """A sentence for the card on what the settings make of the method, where its name says less."""
        return None

    def carried_tokens(self, settings: Settings) -> int:
        """About how many tokens of the calibration text go through a cell's quantized blocks, so that layers
        make up for the errors of those before; 0 where they do not."""
        return 0

    def learns_scales(self, settings: Settings) -> bool:
        """Whether that text tells besides how the scales of a block are moved, when it is rounded."""
        return False

    def working_bytes(self, shape: InputShape, settings: Settings) -> int:
        """Memory that it works with while it rounds the layers of one input, beside their weights."""
        return 3 * shape.largest

    def kept_bytes(self, shape: InputShape, settings: Settings) -> int:
        """Memory that it keeps of an input for the next cells."""
        return 0

    def scaled_bytes(self, weights: int, settings: Settings) -> int:
        """Memory of what it makes of a whole block before rounding.

        Args:
            weights: bytes of the block's weights in float32.
        """
        return 0
