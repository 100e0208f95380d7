"""What a format's entry says: how rounded weights are stored, and which loaders read them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from quantize_lib.formats.context import BlockShape, CheckpointContext, Layer, Misfit
from quantize_lib.formats.loading import Loaded, LoadRequest, load_with_transformers
from quantize_lib.formats.rounded import Codes, Grid, InputRounding, RoundedLayer
from quantize_lib.formats.served import Served, ServedFormat
from quantize_lib.formats.traits import Traits
from quantize_lib.formats.usage import Usage, pinned, transformers_snippet
from quantize_lib.formats.whole import WholeModel
from quantize_lib.methods import GRID, Method, Settings
from quantize_lib.precision import Precision, precision_of

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


class Format(ServedFormat, ABC):
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
        served_low: of the widths that methods call experimental, those that are not in it: vLLM serves them,
            and a method's result is worth it.
        reorders: whether groups may follow the order of rounding.
        mixed: whether layers may have bits and a group size of their own.
        fixed: settings that can have but one value here, by name: (value, reason).
        one_dtype: whether all that is not quantized has to be in one dtype, the model's: loaders leave some
            tensors as they are on disk and bring the others to it.
        as_loaded: whether what transformers makes of several weights has to be stored as it makes it.
        compares_outputs: whether `on_loading` gives something, by which checkpoints are checked that continue
            no text.
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
    served_low: ClassVar[tuple[int, ...]] = ()
    mixed: ClassVar[bool] = False
    reorders: ClassVar[bool] = False
    fixed: ClassVar[Mapping[str, tuple[Any, str]]] = {}
    one_dtype: ClassVar[bool] = False
    as_loaded: ClassVar[bool] = False
    compares_outputs: ClassVar[bool] = False
    limit: ClassVar[str]
    splits: ClassVar[bool] = True
    """Whether servers read a part of each layer on each of several GPUs."""
    requirements: ClassVar[tuple[str, ...]] = ("transformers", "accelerate")
    """Packages of the install line, beside torch."""
    written_by: ClassVar[tuple[str, ...]] = ()
    """Packages that have a part in what is stored, and none where it is loaded."""
    rounds_outside: ClassVar[bool] = False
    """Whether embeddings and the output layer are rounded, too."""
    kinds: ClassVar[Mapping[str, int]] = {}
    """Types that tensors may be given one by one, and about how many bits a weight has in each."""
    holds_tokenizer: ClassVar[bool] = False
    """Whether the tokenizer is in its file as well; see `refuses_files`."""
    files: ClassVar[str] = "*.safetensors"
    """What its weights are in."""
    stays: ClassVar[str] = "embeddings, norms and the output layer: no method here rounds them"
    """What of a model it stores in full precision whatever the settings, for the card."""

    def holds(self, method: Method) -> bool:
        """Whether it stores what a method gives."""
        own = method.formats[0] == self.name
        return method.result == self.result and (own or not self.exclusive)

    def experimental(self, method: Method) -> tuple[int, ...]:
        """Widths of a method that are experimental in it."""
        return tuple(bits for bits in method.experimental if bits not in self.served_low)

    def writers(self, settings: Settings) -> tuple[str, ...]:
        """Those of `written_by` without which a cell cannot be stored."""
        return self.written_by

    def part(self, settings: Settings) -> str:
        """Which part of its repository a cell is, where that holds all of a model's; else empty."""
        return ""

    def of(self, settings: Settings) -> Format:
        """The layout of it in which a cell is stored; itself where it has but one."""
        return self

    def reading(self, quantization: Mapping[str, Any]) -> Format:
        """The layout of it in which a checkpoint is stored.

        Args:
            quantization: the checkpoint's `quantization_config`.
        """
        return self

    def grid(self, method: Method, settings: Settings) -> Grid:
        """What the codes of a cell have to be."""
        symmetric = self.symmetric_only or method.is_symmetric(settings)
        return Grid(
            symmetric=symmetric,
            # Of zero points in the middle it says nothing: they are codes as other formats have them.
            lowest_zero=0 if symmetric else self.lowest_zero,
            reordered=self.reorders and method.is_reordered(settings),
        )

    def refuses(self, traits: Traits) -> str | None:
        """Why it cannot hold a model; None where it can."""
        return None

    def yields(self, traits: Traits, settings: Settings) -> str | None:
        """Why `auto` passes it over for a cell that it can hold; None where it does not."""
        return None

    def lacks(self, traits: Traits, bits: int) -> str | None:
        """Why it cannot hold a model in so many bits; None where it can."""
        return None if bits in self.bits else f"it has no {bits} bits"

    def alike(self, traits: Traits) -> str | None:
        """Why all layers of a model have the same bits and group size; None where they may differ."""
        return None if self.mixed else "all layers have the same bits and group size in it"

    def leaves_experts(self, traits: Traits) -> str | None:
        """Why a mixture's experts would stay in full precision; None where they can be quantized."""
        return None

    def leaves(self, traits: Traits, layer: Layer, bits: int) -> str | None:
        """Why a linear layer stays in full precision, as its loader cannot take it; None where it can."""
        return self.leaves_experts(traits) if layer.of_expert else None

    def misfit(self, in_features: int, out_features: int, bits: int) -> Misfit | None:
        """Why a layer of these sizes cannot be packed; None where it can."""
        return None

    def first_misfit(self, sizes: Iterable[tuple[int, int]], bits: int) -> Misfit | None:
        """Why one of these layers cannot be packed; None where all can."""
        found = (self.misfit(inputs, outputs, bits) for inputs, outputs in sorted(sizes))
        return next((misfit for misfit in found if misfit is not None), None)

    def shard_misfit(self, in_features: int, out_features: int, bits: int) -> Misfit | None:
        """Why a GPU's part of a layer, of these sizes, cannot be read; None where it can."""
        return self.misfit(in_features, out_features, bits)

    def kernels(self, shards: Collection[tuple[int, int]], served: Served) -> dict[str, str]:
        """By which kernel each server multiplies, by the server's name; without those that do not serve it.

        As read in their sources, not run here.

        Args:
            shards: inputs and outputs of a GPU's parts of the layers.
            served: how they are rounded.
        """
        return {}

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

    def types(self, model: WholeModel, settings: Settings) -> Mapping[str, str]:
        """Of a format with several types: that of each tensor which is not stored as it is, by its name."""
        return {}

    def choices(self, model: WholeModel) -> Mapping[str, Mapping[str, int]]:
        """Of a format with several types: which each tensor may have of its own, by its name, and the bytes
        that it takes in each; without those that are stored as they are whatever is chosen."""
        return {}

    def weight(self, parts: Mapping[str, Tensor], kind: str) -> Tensor:
        """What the parts that `pack` gave mean, of a format that has types: float32 (out, in)."""
        raise NotImplementedError

    def whole_bytes(self, model: WholeModel, settings: Settings) -> int | None:
        """What a checkpoint's weights take; None where they are counted tensor by tensor."""
        return None

    def bytes_beside(self, model: WholeModel, base: Path | None) -> int:
        """What a checkpoint's weights take of which `choices` says nothing, of a format that has any.

        Args:
            base: the base model's folder; None where it is not there, so that files beside the weights are
                estimated.
        """
        raise NotImplementedError

    def refuses_files(self, base: Path, rows: int | None = None) -> str | None:
        """Why it cannot hold what it takes of the base model's files beside the weights; None where it can.

        Args:
            base: the base model's folder, if only with the tokenizer's files.
            rows: of the embedding, in the worker; without them nothing is run that reads foreign files.
        """
        return None

    def complete(self, folder: Path, base: Path, context: CheckpointContext) -> Path | None:
        """Put the finished tensors of a checkpoint's folder into a file of its own, where it has one.

        Args:
            folder: with shards, config and side files.
            base: the base model's folder.

        Returns:
            The file; None where the shards stay what they are.

        Raises:
            CheckpointError: where the disk is full.
        """
        return None

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

    def rounds_inputs(self, model_type: str) -> InputRounding | None:
        """How the default way of loading a model of that type rounds the inputs of quantized layers; None
        where it leaves them as they are."""
        return None

    def rounds_less(self, mode: str, quantization: Mapping[str, Any]) -> bool:
        """Whether one of `modes` leaves out what `rounds_inputs` says, so that its figures are its own."""
        return False

    def load(self, request: LoadRequest, quantization: Mapping[str, Any]) -> Loaded:
        """Load a checkpoint as its users do; runs in a process of its own.

        Args:
            quantization: the checkpoint's `quantization_config`.
        """
        return load_with_transformers(request)

    def keep_dequantized(self, model: Any) -> bool:
        """Let a loaded model's layers keep the weights that they would else dequantize for every text anew.

        Each of these weights then takes as much memory as one in full precision.

        Returns:
            Whether there are such layers.
        """
        return False

    def on_loading(self, quantization: Mapping[str, Any]) -> object | None:
        """What transformers is given beside a full-precision model to quantize it as it is loaded.

        Args:
            quantization: the checkpoint's `quantization_config`.

        Returns:
            None where it cannot make such a checkpoint.
        """
        return None

    def precision(self, dtype: str, quantization: Mapping[str, Any]) -> Precision:
        """How finely a loaded checkpoint computes, which says how near its figures have to come.

        Args:
            dtype: it was loaded in, as PyTorch calls it.
            quantization: the checkpoint's `quantization_config`.
        """
        return precision_of(dtype)

    def cautions(self, settings: Settings, traits: Traits) -> tuple[str, ...]:
        """What a loader that people may take gets wrong of such a cell, a sentence each, for log and card."""
        return ()

    def usage(self, use: Usage) -> dict[str, str]:
        """How to load a checkpoint: `install`, `python`, `loader`, `vllm` and `sglang`; the last two are ""
        where they do not serve it."""
        return {
            "install": self.install(use.versions),
            "python": transformers_snippet(use.repository, use.prompt, use.task),
            "loader": "transformers",
            "vllm": " ".join(use.vllm()),
            "sglang": " ".join(use.sglang()),
        }

    def library(self, model_type: str) -> str:
        """The Hub's word for the library that loads a checkpoint of such a model."""
        return "transformers"

    def also_loaded(self, use: Usage) -> tuple[tuple[str, str], ...]:
        """Further programs that load a checkpoint, each a link in Markdown with a shell line."""
        return ()

    def parts_loaded(
        self, repository: str, files: Mapping[str, str], prompt: str
    ) -> tuple[tuple[str, str], ...]:
        """As `also_loaded`, of a repository: `files` are the weights of each part, by its name."""
        return ()

    def install(self, versions: Mapping[str, str]) -> str:
        """Shell lines that bring what the loader needs, in the versions that were used here."""
        return "pip install torch " + pinned(versions, *self.requirements)


def codes_of(layer: RoundedLayer) -> Codes:
    """The layer's codes, which a format that stores a grid relies on."""
    assert layer.codes is not None, "a method whose result is a grid gives codes"
    return layer.codes
