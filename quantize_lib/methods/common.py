"""Settings that several methods share."""

from __future__ import annotations

from quantize_lib.methods.settings import GroupSize, Override, Setting, Settings
from quantize_lib.text import SIZE_PATTERN

FITTING_GROUP_SIZES = (128, 64, 32, 16)
"""Group sizes that the kernels take, in the order in which `auto` tries them."""

_NOT_FOR_KERNELS = "not a group size that the loaders' kernels take"

GROUP_SIZE: Setting[GroupSize] = Setting(
    name="group_size",
    default="auto",
    words={
        "title": "Group size",
        "description": "How many consecutive weights of a row share one scale. `auto` is the largest of 128, "
        "64, 32 and 16 that divides the input of every quantized layer; -1 is one group for the whole row.",
        "enum": ["auto", -1, *sorted(FITTING_GROUP_SIZES)],
        "errorMessage": _NOT_FOR_KERNELS,
    },
    label="group size",
)
MODULES_TO_NOT_CONVERT: Setting[tuple[str, ...]] = Setting(
    name="modules_to_not_convert",
    default=(),
    words={
        "title": "Layers to keep in full precision",
        "description": "Glob patterns on full module names; linear layers that match are not quantized.",
        "type": "array",
        "items": {"$ref": "#/$defs/line"},
        "examples": [["*.down_proj", "model.layers.0.*"]],
    },
    label="kept in full precision",
)
OVERRIDES: Setting[tuple[Override, ...]] = Setting(
    name="overrides",
    default=(),
    words={
        "title": "Other settings for some layers",
        "description": "Other bits or another group size for the layers whose full name matches the pattern; "
        "the first pattern that matches counts.",
        "type": "array",
        "items": {"$ref": "#/$defs/override"},
        "examples": [[{"modules": "*.down_proj", "bits": 8}]],
    },
    label="overrides",
)
OVERRIDE_GROUP_SIZES = {"enum": [-1, *sorted(FITTING_GROUP_SIZES)], "errorMessage": _NOT_FOR_KERNELS}
"""What an override's `group_size` may be."""
ALLOW_PARTIAL: Setting[bool] = Setting(
    name="allow_partial",
    default=False,
    words={
        "title": "Experts may stay in full precision",
        "description": "Whether a mixture is made whose experts no loader of the format reads quantized, or "
        "a model whose blocks hold most weights in no linear layer: they stay in full precision, and log, "
        "report and card say how much that is.",
        "type": "boolean",
    },
    label="experts may stay in full precision",
)
AUTO_BITS = "auto"
"""Said in the place of `bits`, or of a type, where each layer is to have its own."""
NOMINAL_BITS = 4
"""Bits of a cell whose layers have their own, where one number is wanted."""
TARGET_BITS: Setting[float | None] = Setting(
    name="target_bits",
    default=None,
    words={
        "title": "Mean bits to reach",
        "description": "With `bits: auto` or `type: auto`: how many bits a quantized weight may take on "
        "average, scales and zero points included. Each layer gets the bits and the group size, or the type, "
        "by which the model loses least.",
        "type": "number",
        "exclusiveMinimum": 0,
        "examples": [3.5],
    },
    label="mean bits asked for",
)
TARGET_SIZE: Setting[str | None] = Setting(
    name="target_size",
    default=None,
    words={
        "title": "Size to reach",
        "description": "With `bits: auto` or `type: auto`: how large the checkpoint's weights may be, in kB, "
        "MB, GB or TB (a thousand, a million … bytes). Each layer gets the bits and the group size, or the "
        "type, by which the model loses least.",
        "type": "string",
        "pattern": SIZE_PATTERN,
        "errorMessage": "not a size, as in 1.2 GB or 850 MB",
        "examples": ["1.2 GB"],
    },
    label="size asked for",
)
TARGETS = (TARGET_BITS, TARGET_SIZE)
"""Of these an entry with `bits: auto` or `type: auto` has one."""
FAST, STANDARD, BEST = "fast", "standard", "best"
EFFORT: Setting[str] = Setting(
    name="effort",
    default=STANDARD,
    words={
        "title": "Effort",
        "description": "How much is done for a better checkpoint of the same size and format. `standard`: "
        "layers of up to 4 bits make up for the errors of the blocks before, and awq finds its codes column "
        "by column. `best`: errors are seen on four times as much text, and up to 3 bits a block's scales "
        "are learned from what it is to return. `fast`: neither.",
        "enum": [FAST, STANDARD, BEST],
    },
    label="effort",
)


def is_mixed(settings: Settings) -> bool:
    """Whether layers may have several bit widths or group sizes."""
    return bool(settings.overrides) or is_automatic(settings)


def is_automatic(settings: Settings) -> bool:
    """Whether each layer gets bits or a type of its own, chosen by what they cost (`bits: auto`)."""
    return settings[TARGET_BITS] is not None or settings[TARGET_SIZE] is not None


def target_word(settings: Settings) -> str | None:
    """What tells a cell with a target from others: `auto-3.5bit`, `auto-1.2GB`; None where it has none."""
    if (size := settings[TARGET_SIZE]) is not None:
        return f"{AUTO_BITS}-{size.replace(' ', '')}"
    if (bits := settings[TARGET_BITS]) is not None:
        return f"{AUTO_BITS}-{bits:g}bit"
    return None
