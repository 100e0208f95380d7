"""What a format's entry says: how rounded weights are stored, and which loaders read them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from quantize_lib.formats.loading import Loaded, LoadRequest, load_with_transformers
from quantize_lib.formats.rounded import Codes, Grid, RoundedLayer
from quantize_lib.formats.usage import Usage, pinned, transformers_snippet
from quantize_lib.methods import GRID, Method, Settings
from quantize_lib.precision import Precision, precision_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What of a model decides whether a format can hold it.

    Attributes:
        model_type: `config.json`'s.
        conv1d: whether its linear layers are Conv1D modules, whose weights are (in, out).
        experts: whether it is a mixture of experts.
    """

    model_type: str
    conv1d: bool = False
    experts: bool = False


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """Why a layer cannot be packed.

    Attributes:
        side: `input` or `output`.
        size: of that side.
        reason: what the format needs.
    """

    side: str
    size: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class BlockShape:
    """What a loader may want to find in a block beside its linear layers.

    Attributes:
        model_type: `config.json`'s.
        widths: outputs by relative module name, of linear layers and of modules whose weight is a vector.
    """

    model_type: str
    widths: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class CheckpointContext:
    """What a format must know of a whole checkpoint to write `quantization_config`.

    Attributes:
        method: that rounded it.
        settings: as the manifest says.
        grid: of its codes.
        group_size: resolved; -1 for one group per row.
        blocks: full name of the list of decoder blocks (`model.layers`).
        quantized: full name of each quantized linear layer → (bits, group size).
        kept: full names of the linear layers in the blocks that stay in full precision.
        outside: full names of linear layers outside the blocks (`lm_head`), never quantized.
        dtype: of unquantized tensors on disk, as PyTorch calls it (`bfloat16`).
    """

    method: Method
    settings: Settings
    grid: Grid
    group_size: int
    blocks: str
    quantized: Mapping[str, tuple[int, int]]
    kept: tuple[str, ...]
    outside: tuple[str, ...]
    dtype: str


class Format(ABC):
    """A way of storing. A new one is a file in this folder.

    Attributes:
        name: in manifests, job files and reports.
        order: its place in lists.
        summary: a few words for the manifest's schema.
        quant_method: how a checkpoint's `quantization_config` names it.
        bits: the widths that it stores.
        bits_note: why no others, in messages.
        result: what it stores: `GRID`, or the name of what a method's own library makes.
        exclusive: whether it is only for methods whose own format it is.
        symmetric_only: whether all zero points have to be in the middle.
        lowest_zero: the smallest zero point that it can hold.
        reorders: whether groups may follow the order of rounding.
        mixed: whether layers may have bits and a group size of their own.
        fixed: settings that can have but one value here, by name: (value, reason).
        one_dtype: whether all that is not quantized has to be in one dtype, the model's: loaders leave some
            tensors as they are on disk and bring the others to it.
        limit: what its users have to know, for the card.
    """

    name: ClassVar[str]
    order: ClassVar[int]
    summary: ClassVar[str]
    quant_method: ClassVar[str]
    bits: ClassVar[tuple[int, ...]]
    bits_note: ClassVar[str]
    result: ClassVar[str] = GRID
    exclusive: ClassVar[bool] = False
    symmetric_only: ClassVar[bool] = False
    lowest_zero: ClassVar[int] = 0
    mixed: ClassVar[bool] = False
    reorders: ClassVar[bool] = False
    fixed: ClassVar[Mapping[str, tuple[Any, str]]] = {}
    one_dtype: ClassVar[bool] = False
    limit: ClassVar[str]
    requirements: ClassVar[tuple[str, ...]] = ("transformers", "accelerate")
    """Packages of the install line, beside torch."""

    def holds(self, method: Method) -> bool:
        """Whether it stores what a method gives."""
        own = method.formats[0] == self.name
        return method.result == self.result and (own or not self.exclusive)

    def grid(self, method: Method, settings: Settings) -> Grid:
        """What the codes of a cell have to be."""
        return Grid(
            symmetric=self.symmetric_only or method.is_symmetric(settings),
            lowest_zero=self.lowest_zero,
            reordered=self.reorders and method.is_reordered(settings),
        )

    def refuses(self, traits: Traits) -> str | None:
        """Why it cannot hold a model; None where it can."""
        return None

    def leaves(self, traits: Traits, layer: str) -> bool:
        """Whether a linear layer stays in full precision, because the loader cannot replace it.

        Args:
            layer: its full name.
        """
        return False

    def misfit(self, in_features: int, out_features: int, bits: int) -> Misfit | None:
        """Why a layer of these sizes cannot be packed; None where it can."""
        return None

    @abstractmethod
    def layer_bytes(
        self, in_features: int, out_features: int, *, bits: int, groups: int, settings: Settings
    ) -> tuple[float, int]:
        """What a layer takes on disk, without its bias.

        Args:
            groups: of each row.

        Returns:
            Bytes, and the number of tensors.
        """

    @abstractmethod
    def pack(self, layer: RoundedLayer) -> dict[str, Tensor]:
        """The layer's tensors by the last part of their names, without the bias; on any device."""

    def additions(self, block: BlockShape) -> dict[str, Tensor]:
        """Tensors that the loader wants in a block besides, by relative name, in any dtype."""
        return {}

    @abstractmethod
    def quantization_config(self, context: CheckpointContext) -> dict[str, Any]:
        """The `quantization_config` of the checkpoint's config.json."""

    def modes(self, quantization: Mapping[str, Any]) -> tuple[str, ...]:
        """The ways of loading that users have and that read the checkpoint right; "" is what they take by
        default.

        Args:
            quantization: the checkpoint's `quantization_config`.
        """
        return ("",)

    def load(self, request: LoadRequest, quantization: Mapping[str, Any]) -> Loaded:
        """Load a checkpoint as its users do; runs in a process of its own.

        Args:
            quantization: the checkpoint's `quantization_config`.
        """
        return load_with_transformers(request)

    def precision(self, dtype: str, quantization: Mapping[str, Any]) -> Precision:
        """How finely a loaded checkpoint computes, which says how near its figures have to come.

        Args:
            dtype: it was loaded in, as PyTorch calls it.
            quantization: the checkpoint's `quantization_config`.
        """
        return precision_of(dtype)

    def limits(self, settings: Settings) -> tuple[str, ...]:
        """What users of such a checkpoint have to know, a sentence each, for the card."""
        return (self.limit,)

    def usage(self, use: Usage) -> dict[str, str]:
        """How to load a checkpoint: `install`, `python`, `loader` and `vllm`."""
        return {
            "install": self.install(use.versions),
            "python": transformers_snippet(use.repository, use.prompt),
            "loader": "transformers",
            "vllm": " ".join(use.vllm()),
        }

    def install(self, versions: Mapping[str, str]) -> str:
        """Shell lines that bring what the loader needs, in the versions that were used here."""
        return "pip install torch " + pinned(versions, *self.requirements)


def codes_of(layer: RoundedLayer) -> Codes:
    """The layer's codes, which a format that stores a grid relies on."""
    assert layer.codes is not None, "a method whose result is a grid gives codes"
    return layer.codes
