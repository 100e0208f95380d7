"""Cells whose layers get bits or types of their own: what each may have, and how much there is for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path

from quantize_lib.architecture.assignment import assign, format_of, whole_model
from quantize_lib.architecture.facts import Architecture
from quantize_lib.architecture.tensors import LayerInfo
from quantize_lib.errors import UsageError
from quantize_lib.formats import Format
from quantize_lib.methods import Override, Settings, get_method
from quantize_lib.methods.common import TARGET_BITS, TARGET_SIZE
from quantize_lib.methods.settings import LayerWidth, Scheme
from quantize_lib.plan.checkpoint_size import HEADER_BYTES, kept_bytes, layer_bytes, layer_tensors
from quantize_lib.text import format_bytes, parse_bytes

WEIGHT = ".weight"
"""What a layer's tensor is called in it."""
_GROUP_SIZES = (128, 64, 32)
"""Smaller groups spend more on scales than another bit would cost; vLLM's fast kernels have these."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What there is to choose for a cell.

    Attributes:
        sizes: bytes of each quantized layer, by its full name and by what it may have.
        room: bytes that there may be of all of them.
        kept: bytes of everything else.
    """

    sizes: Mapping[str, Mapping[LayerWidth, int]]
    room: int
    kept: int

    @property
    def checkpoint_bytes(self) -> int:
        """At most so many are written."""
        most = sum(max(of.values()) for of in self.sizes.values())
        return self.kept + min(self.room, most)


def choice_of(facts: Architecture, settings: Settings, base: Path | None = None) -> Choice:
    """What a cell with a target has to choose from.

    Where an override says what a layer has, or the settings a group size, there is nothing else for it.

    Args:
        base: the base model's folder, where it is there: some formats can only estimate without it.

    Raises:
        UsageError: where the least that the layers can have is more than there may be, with what is possible.
        EngineError: where the format cannot hold a file of the base model's.
    """
    offered = _by_type(facts, settings, base) or _by_bits(facts, settings)
    least = sum(min(of.values()) for of in offered.sizes.values())
    size, bits = settings[TARGET_SIZE], settings[TARGET_BITS]
    if size is not None:
        room, asked = parse_bytes(size) - offered.kept, f"{TARGET_SIZE.name} {size}"
        possible = format_bytes(_tenth(least + offered.kept))
    else:
        assert bits is not None, "a cell without a target has nothing to choose"
        # A header is no part of a weight.
        room = int(bits * offered.weights / 8) + offered.headers
        asked = f"{TARGET_BITS.name} {bits:g}"
        possible = f"{ceil((least - offered.headers) * 800 / offered.weights) / 100:.2f}"
    if least > room:
        raise UsageError(
            f"{asked}: with the fewest bits that its layers can have it is {possible}",
            hint=f"Ask for {possible} or more, or for fewer layers in full precision.",
        )
    return Choice(sizes=offered.sizes, room=room, kept=offered.kept)


def _tenth(count: int) -> int:
    """Bytes up to the next tenth of their unit, as they are shown: what is named as possible has to do."""
    step = max(1, int(1000 ** ((len(str(count)) - 1) // 3)) // 10)
    return -(-count // step) * step


@dataclass(frozen=True, kw_only=True)
class _Offered:
    """What layers may have, whatever room there is.

    Attributes:
        sizes, kept: as `Choice`.
        weights: how many the layers have.
        headers: bytes of `sizes` that are no part of them.
    """

    sizes: Mapping[str, Mapping[LayerWidth, int]]
    kept: int
    weights: int
    headers: int = 0


def _by_bits(facts: Architecture, settings: Settings) -> _Offered:
    """Bits and group sizes of the linear layers."""
    chosen = format_of(facts, settings)
    quantized = [layer for layer, *_ in assign(facts, settings)]
    # A mixture has tens of thousands of layers, and few that differ.
    alike: dict[tuple[int, int, Override | None], Mapping[LayerWidth, int]] = {}
    sizes: dict[str, Mapping[LayerWidth, int]] = {}
    for layer in quantized:
        override = settings.override_of(layer.name)
        key = layer.in_features, layer.out_features, override
        if key not in alike:
            alike[key] = {
                scheme: layer_bytes(layer, *scheme, chosen=chosen, settings=settings)
                for scheme in _schemes(layer, override, chosen, settings)
            }
        sizes[layer.name] = alike[key]
    return _Offered(
        sizes=sizes,
        kept=kept_bytes(facts, quantized),
        weights=sum(layer.in_features * layer.out_features for layer in quantized),
        headers=HEADER_BYTES * sum(layer_tensors(layer, chosen, settings) for layer in quantized),
    )


def _by_type(facts: Architecture, settings: Settings, base: Path | None) -> _Offered | None:
    """Types of tensors, of those outside the blocks as well; None where the format has none to choose."""
    chosen, whole = format_of(facts, settings), whole_model(facts, settings)
    found = chosen.choices(whole)
    if not found:
        return None
    return _Offered(
        sizes={name.removesuffix(WEIGHT): dict(sizes.items()) for name, sizes in found.items()},
        kept=chosen.bytes_beside(whole, base),
        weights=sum(prod(whole.shapes[name]) for name in found),
    )


def _schemes(layer: LayerInfo, override: Override | None, chosen: Format, settings: Settings) -> list[Scheme]:
    """What a layer may have; the fewest bits first."""
    widths = [width for width in get_method(settings.method).bits if width in chosen.bits]
    wanted = settings.group_size
    if override is not None:
        widths = widths if override.bits is None else [override.bits]
        wanted = wanted if override.group_size is None else override.group_size
    fitting = [size for size in _GROUP_SIZES if layer.in_features % size == 0] or [-1]
    sizes = fitting if wanted == "auto" else [wanted]
    found = [
        (bits, size)
        for bits in widths
        if chosen.misfit(layer.in_features, layer.out_features, bits) is None
        for size in sizes
    ]
    return found or [(settings.bits, sizes[0])]
