"""Settings that several methods share."""

from __future__ import annotations

from quantize_lib.methods.settings import GroupSize, Override, Setting

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
