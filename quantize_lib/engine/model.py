"""A causal language model of which one decoder block is in memory at a time.

The model's own code does every forward: the model is built on the meta device, its list of blocks is
replaced by stand-ins that record what each block is called with, and blocks are filled from the
safetensors shards when their turn comes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from quantize_lib.architecture.facts import Architecture
from quantize_lib.architecture.families import TIED
from quantize_lib.architecture.strays import sort_strays
from quantize_lib.architecture.tensors import TensorInfo
from quantize_lib.engine.base_config import config_errors, load_config
from quantize_lib.engine.shards import open_shard
from quantize_lib.engine.tied_head import are_equal
from quantize_lib.errors import EngineError, SourceError
from quantize_lib.wording import show

_PIECE = 1 << 20
_TORCH_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class BlockCall:
    """What the model passes to a block beside the hidden states (masks, position embeddings)."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __call__(self, block: nn.Module, hidden: Tensor) -> Tensor:
        """Run a block on hidden states of shape (batch, sequence, hidden)."""
        output = block(hidden, *self.args, **self.kwargs)
        return cast(Tensor, output[0] if isinstance(output, tuple) else output)


class _StandIn(nn.Module):
    """Takes a block's place in the list: passes hidden states on, or replaces them at the last block."""

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        # Not as a submodule: the original stays on the meta device and must not be materialized with us.
        object.__setattr__(self, "original", original)
        self.call: BlockCall | None = None
        self.replacement: Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            # Models read attributes of their blocks (`attention_type`) to choose a mask.
            return getattr(object.__getattribute__(self, "original"), name)

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self.call = BlockCall(args=args, kwargs=kwargs)
        return hidden_states if self.replacement is None else self.replacement


class StreamedModel:
    """The model's code, with weights read from the folder piece by piece.

    Args:
        folder: the base model on disk.
        facts: its config and headers.
        blocks: full name of the list of decoder blocks, as in `model.layers`.
        device: where blocks are computed.
        trust_remote_code: passed on to transformers; only ever true inside a container.

    Attributes:
        notes: what was found out of the files by the class alone, as those of `Architecture`.

    Raises:
        SourceError: where its class cannot be built, or files and class do not fit together.
    """

    def __init__(
        self,
        folder: Path,
        facts: Architecture,
        *,
        blocks: str,
        device: torch.device,
        trust_remote_code: bool = False,
    ) -> None:
        from transformers import AutoModelForCausalLM

        self._folder = folder
        self._facts = facts
        self.blocks = blocks
        self.device = device
        self.disk_dtype = _disk_dtype(facts)
        self.compute_dtype = _compute_dtype(device, self.disk_dtype)
        self.config = load_config(folder, trust_remote_code=trust_remote_code)
        self.config.use_cache = False
        if isinstance(facts.config.get(TIED), bool):
            # The files may have shown that the config is wrong there (`tied_head`).
            self.config.tie_word_embeddings = facts.config[TIED]
        with config_errors(folder), torch.device("meta"):
            model = AutoModelForCausalLM.from_config(
                self.config, dtype=self.compute_dtype, trust_remote_code=trust_remote_code
            )
        self._model = cast(nn.Module, model).eval()
        self.class_name = type(self._model).__name__
        self._state_names = tuple(self._model.state_dict())
        self._tied: Mapping[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
        self._output_names: dict[str, str] = {}
        self._source_names = self._match_names(str(getattr(model, "base_model_prefix", "")))
        block_list = self._model.get_submodule(blocks)
        if not isinstance(block_list, nn.ModuleList):
            raise EngineError(f"{blocks} of {folder.name} is not a list of decoder blocks")
        self._originals: list[nn.Module] = list(block_list)
        self._stand_ins = [_StandIn(block) for block in self._originals]
        for index, stand_in in enumerate(self._stand_ins):
            block_list[index] = stand_in

    def __len__(self) -> int:
        return len(self._originals)

    def prefix(self, index: int) -> str:
        """The full name of a block, as in `model.layers.3`."""
        return f"{self.blocks}.{index}"

    def block_tensors(self, index: int) -> list[str]:
        """Full names of a block's tensors on disk."""
        return [name for name in self._source_names if name.startswith(self.prefix(index) + ".")]

    def outside_tensors(self) -> list[str]:
        """Full names of the tensors outside the blocks that a checkpoint holds (tied copies are left out)."""
        inside = self.blocks + "."
        return [name for name in self._source_names if not name.startswith(inside) and name not in self._tied]

    def output_name(self, name: str) -> str:
        """The name under which a tensor outside the blocks is written to a checkpoint."""
        return self._output_names[name]

    def outside_linears(self) -> tuple[str, ...]:
        """Full names of the linear layers outside the blocks (`lm_head`)."""
        return tuple(name for name, module in self._model.named_modules() if type(module) is nn.Linear)

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Tensors as they are on disk, by full name, shard by shard.

        Each is mapped from its shard, opened for it alone: its pages count as resident memory until it goes.

        Raises:
            SourceError: where a shard cannot be read or a tensor is not finite.
        """
        by_file: dict[str, list[str]] = {}
        for name in names:
            by_file.setdefault(self._facts.tensors[self._source_names[name]].file, []).append(name)
        for file, name in ((file, name) for file, wanted in by_file.items() for name in wanted):
            with open_shard(self._folder, file) as shard:
                tensor = shard.get_tensor(self._source_names[name])
            if tensor.is_floating_point() and not _is_finite(tensor):
                raise SourceError(
                    f"{file}: tensor {self._source_names[name]} holds NaN or Inf",
                    hint="The base model is damaged; fetch it again or choose another revision.",
                )
            yield name, tensor
            # Before the next one is mapped.
            del tensor

    def load_block(self, index: int) -> nn.Module:
        """A block with its weights, in the compute dtype on the device."""
        block = copy.deepcopy(self._originals[index])
        self._materialize(block, self.prefix(index), self.block_tensors(index))
        return block

    @contextmanager
    def outer(self) -> Iterator[None]:
        """Everything outside the blocks (embeddings, final norm, head) is in memory inside this context."""
        meta = copy.deepcopy(self._model.state_dict())
        self._materialize(self._model, "", self.outside_tensors())
        if self._tied:
            cast(Any, self._model).tie_weights()
        try:
            yield
        finally:
            self._model.load_state_dict(meta, assign=True)

    def embed(self, ids: Tensor) -> tuple[Tensor, list[BlockCall]]:
        """The input of the first block, and what each block is called with.

        Only inside `outer`.

        Args:
            ids: int64 (batch, sequence).

        Returns:
            Hidden states (batch, sequence, hidden) in the compute dtype and one call per block.
        """
        first: list[Tensor] = []
        handle = self._stand_ins[0].register_forward_pre_hook(lambda _, args: first.append(args[0]))
        try:
            # The base model alone: the head's product over the vocabulary would be thrown away.
            cast(Any, self._model).base_model(input_ids=ids.to(self.device), use_cache=False)
        finally:
            handle.remove()
        calls = [stand_in.call for stand_in in self._stand_ins]
        if not first or any(call is None for call in calls):
            raise EngineError(
                f"the forward of {self._folder.name} does not pass through {self.blocks} in order"
            )
        return first[0], cast(list[BlockCall], calls)

    def head(self, ids: Tensor, hidden: Tensor) -> Tensor:
        """float32 logits (batch, sequence, vocabulary) from the last block's output. Only inside `outer`."""
        last = self._stand_ins[-1]
        last.replacement = hidden.to(self.device)
        try:
            logits = cast(Any, self._model)(input_ids=ids.to(self.device), use_cache=False).logits
        finally:
            last.replacement = None
        return cast(Tensor, logits).float()

    def _match_names(self, base_prefix: str) -> dict[str, str]:
        """Full tensor name → name on disk, by transformers' own rules for renamed and prefixed keys."""
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

        transforms = get_model_conversion_mapping(cast(Any, self._model))
        renamings = [t for t in transforms if isinstance(t, WeightRenaming)]
        converters = [t for t in transforms if isinstance(t, WeightConverter)]
        state = self._model.state_dict()
        folder = self._folder
        found: dict[str, str] = {}
        strays: list[TensorInfo] = []
        for source in self._facts.tensors:
            plain, converter = rename_source_key(source, renamings, converters)
            if converter is not None:
                raise EngineError(f"{self._folder.name} stores {source} in a layout that has to be converted")
            full, _ = rename_source_key(source, renamings, [], base_prefix, state)
            if full not in state:
                strays.append(self._facts.tensors[source])
                continue
            if full in found:
                raise SourceError(
                    f"{folder.name}: {show(found[full])} and {show(source)} are both {full} to transformers",
                    hint="Remove the one that is not meant.",
                )
            found[full] = source
            # Prefixes are written as the model has them; a renamed tensor keeps the name on disk.
            self._output_names[full] = source if plain == full else full
        held = {full: self._facts.tensors[source] for full, source in found.items()}
        self.notes = tuple(sort_strays(self._facts.config, held, strays))
        for target, origin in self._tied.items():
            # Of a class that transformers has, `tied_head` has settled it.
            if target in held and origin in held and not are_equal(folder, held[target], held[origin]):
                raise SourceError(
                    f"{folder.name}: {target} differs from {origin}, and the model's class ties the two",
                    hint=f"Say {TIED}: false in config.json.",
                )
            if target in found and origin not in found:
                # Tied from the other side, as transformers does; loaders of checkpoints want the usual name.
                found[origin] = found.pop(target)
                self._output_names[origin] = origin
        missing = [name for name in self._state_names if name not in found and name not in self._tied]
        if missing:
            raise SourceError(
                f"{self._folder.name} has no tensor {missing[0]}"
                + (f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""),
                hint="The safetensors files do not belong to this config.json.",
            )
        return found

    def _materialize(self, module: nn.Module, prefix: str, names: list[str]) -> None:
        """Fill a module on the meta device: first the buffers that are computed, then what is on disk."""
        for parent in module.modules():
            computed = [n for n in parent._non_persistent_buffers_set if parent._buffers.get(n) is not None]
            for buffer in computed:
                parent._buffers[buffer] = torch.empty_like(
                    cast(Tensor, parent._buffers[buffer]), device="cpu"
                )
            if computed:
                # As from_pretrained does; the parent's weights are still on the meta device, untouched.
                with torch.no_grad():
                    cast(Any, self._model)._init_weights(parent)
        for name, tensor in self.read(names):
            relative = name.removeprefix(prefix + ".") if prefix else name
            path, _, leaf = relative.rpartition(".")
            owner = module.get_submodule(path)
            current = owner._parameters.get(leaf)
            wanted = current if current is not None else owner._buffers[leaf]
            if wanted is None or wanted.shape != tensor.shape:
                raise SourceError(
                    f"tensor {name} has the shape {tuple(tensor.shape)}, the config asks for "
                    f"{None if wanted is None else tuple(wanted.shape)}",
                    hint="The safetensors files do not belong to this config.json.",
                )
            # A copy of our own: what is mapped is neither to be kept nor to be written to.
            dtype = self.compute_dtype if tensor.is_floating_point() else tensor.dtype
            value = tensor.to(self.device, dtype, copy=True)
            del tensor
            if current is not None:
                owner._parameters[leaf] = nn.Parameter(value, requires_grad=False)
            else:
                owner._buffers[leaf] = value
        for parent in module.modules():
            for buffer_name, present in parent._buffers.items():
                if present is not None and present.device != self.device and present.device.type != "meta":
                    parent._buffers[buffer_name] = present.to(self.device)


def _is_finite(tensor: Tensor) -> bool:
    """Whether every value is finite, looked at in pieces: masks of a whole embedding would be large."""
    return all(bool(torch.isfinite(part).all()) for part in tensor.flatten().split(_PIECE))


def _disk_dtype(facts: Architecture) -> torch.dtype:
    """The dtype of most of the model's bytes."""
    sizes: dict[str, int] = {}
    for info in facts.tensors.values():
        count = 1
        for size in info.shape:
            count *= size
        sizes[info.dtype] = sizes.get(info.dtype, 0) + count
    best = max(sizes, key=lambda dtype: sizes[dtype])
    if best not in _TORCH_DTYPES:
        raise SourceError(
            f"the base model's weights are {best}; quantizing starts from {', '.join(_TORCH_DTYPES)}",
            hint="Name the full-precision model, not a quantized one.",
        )
    return _TORCH_DTYPES[best]


def _compute_dtype(device: torch.device, disk: torch.dtype) -> torch.dtype:
    """float32 on CPU and MPS; on CUDA the 16-bit dtype that the model was stored in."""
    if device.type == "cuda" and disk == torch.bfloat16 and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float32
