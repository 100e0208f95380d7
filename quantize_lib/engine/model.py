"""A language model of which one decoder block is in memory at a time.

The model's own code does every forward: the model is built on the meta device, its list of blocks is
replaced by stand-ins that note what each block is called with, and blocks are filled from the safetensors
shards when their turn comes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from quantize_lib.architecture.facts import Architecture
from quantize_lib.architecture.families import TIED
from quantize_lib.architecture.tensors import TensorInfo
from quantize_lib.engine.dtypes import compute_dtype, disk_dtype, loaded_dtypes
from quantize_lib.engine.module_tree import owner_of
from quantize_lib.engine.names import Origin
from quantize_lib.engine.notebook import Notebook, Reached
from quantize_lib.engine.shards import read_finite, read_tensor
from quantize_lib.engine.skeleton import Skeleton
from quantize_lib.engine.tied_head import are_equal
from quantize_lib.engine.walk import Calls, Route
from quantize_lib.errors import EngineError, SourceError

Called = Callable[[int, tuple[Any, ...], dict[str, Any]], Any]
"""Takes a block's call in its place: index, arguments, keyword arguments."""


class _StandIn(nn.Module):
    """Takes a block's place in the list."""

    def __init__(self, original: nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        # Not as submodules: the original stays on the meta device and must not be materialized with us.
        object.__setattr__(self, "original", original)
        object.__setattr__(self, "call", call)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            # Models read attributes of their blocks (`attention_type`) to choose a mask.
            return getattr(object.__getattribute__(self, "original"), name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(args, kwargs)


class StreamedModel(Skeleton):
    """The model's code, with weights read from the folder piece by piece.

    Args:
        folder: the base model on disk.
        facts: its config and headers.
        device: where blocks are computed.
        trust_remote_code: passed on to transformers; only ever true inside a container.

    Attributes:
        route: how the model's forward goes through its blocks, as far as it is known.

    Raises:
        SourceError: where its class cannot be built, or files and class do not fit together.
    """

    def __init__(
        self,
        folder: Path,
        facts: Architecture,
        *,
        device: torch.device,
        trust_remote_code: bool = False,
    ) -> None:
        self.device = device
        self.disk_dtype = disk_dtype(facts)
        self.compute_dtype = compute_dtype(device, self.disk_dtype)
        super().__init__(folder, facts, dtype=self.compute_dtype, trust_remote_code=trust_remote_code)
        self._dtypes = loaded_dtypes(self._model, self.compute_dtype)
        self._disk = {self.names.written(source): source for source in self.names.by_source}
        self.route = Route({})
        self._called: Called | None = None
        block_modules = self._block_modules()
        for index, block in enumerate(self._originals):
            block_modules[index] = _StandIn(block, self._calling(index))

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Tensors as they are on disk, by their name in a checkpoint, shard by shard; see `read_finite`.

        Raises:
            SourceError: where a shard cannot be read, or a tensor that text meets is not finite.
        """
        by_file: dict[str, list[str]] = {}
        for name in names:
            by_file.setdefault(self._facts.tensors[self._disk[name]].file, []).append(name)
        for name in (name for wanted in by_file.values() for name in wanted):
            source = self._disk[name]
            # Vision and audio towers only travel along, and have infinities for limits that are none.
            beside = all(target.startswith(self._beside) for target in self.names.by_source[source].targets)
            tensor = (read_tensor if beside else read_finite)(self._folder, self._facts.tensors[source])
            yield name, tensor
            # Before the next one is mapped.
            del tensor

    def copied(self) -> Iterator[tuple[str, Tensor]]:
        """What the class does not load and a checkpoint gets as it is, by name on disk."""
        for info in self._copied:
            yield info.name, read_tensor(self._folder, info)

    def load_block(self, index: int) -> nn.Module:
        """A block with its weights, in the compute dtype on the device."""
        block = copy.deepcopy(self._originals[index])
        self._compute_buffers(block, self.prefix(index))
        self._fill(block, f"{self.prefix(index)}.", self._inside[index])
        self._tie(block, f"{self.prefix(index)}.")
        self._move_buffers(block)
        return block

    @contextmanager
    def outer(self) -> Iterator[None]:
        """Everything outside the blocks (embeddings, final norm, head) is in memory inside this context.

        Vision and audio towers are not: text does not pass through them.
        """
        meta = copy.deepcopy(self._model.state_dict())
        wanted = [o for o in self._outside if not all(t.startswith(self._beside) for t in o.targets)]
        self._compute_buffers(self._model, "")
        self._fill(self._model, "", wanted)
        self._tie(self._model, "")
        self._move_buffers(self._model)
        for name, tensor in meta.items():
            if name.startswith(self._beside):
                # Its device is asked for. A model that did read it would compute nothing but NaN.
                self._place(
                    self._model, name, torch.tensor(torch.nan, device=self.device).expand(tensor.shape)
                )
        try:
            yield
        finally:
            self._model.load_state_dict(meta, assign=True)

    @contextmanager
    def replacing(self, values: Mapping[str, Tensor]) -> Iterator[None]:
        """Inside this context some tensors outside the blocks are others. Only inside `outer`.

        Args:
            values: by name in a checkpoint, on the device and in the dtype of what they replace.
        """
        if not values:
            yield
            return
        targets = {self.names.by_source[self._disk[name]].targets[0]: name for name in values}
        before = {target: self._model.get_parameter(target) for target in targets}
        for target, name in targets.items():
            self._place(self._model, target, values[name])
        self._tie(self._model, "")
        try:
            yield
        finally:
            for target, value in before.items():
                self._place(self._model, target, value)
            self._tie(self._model, "")

    @contextmanager
    def calling(self, called: Called) -> Iterator[None]:
        """Inside this context the blocks' calls are taken by `called`."""
        before, self._called = self._called, called
        try:
            yield
        finally:
            self._called = before

    def forward(self, ids: Tensor, called: Called) -> Tensor:
        """The model's own forward, its blocks' calls taken by `called`. Only inside `outer`.

        Args:
            ids: int64 (batch, sequence).

        Returns:
            float32 logits (batch, sequence, vocabulary).
        """
        with self.calling(called):
            logits = cast(Any, self._model)(input_ids=ids.to(self.device), use_cache=False).logits
        return cast(Tensor, logits).float()

    def embed(self, ids: Tensor) -> tuple[Tensor, Calls]:
        """The input of the first block, and what each block is called with. Only inside `outer`.

        Args:
            ids: int64 (batch, sequence).

        Returns:
            Hidden states (batch, sequence, hidden) in the compute dtype, and the blocks' calls.

        Raises:
            EngineError: where the model's forward does not pass through the blocks in order.
        """
        notebook, last = Notebook(), self.route.last(len(self))

        def called(index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            hidden = notebook.note(index, args, kwargs)
            if index == last:
                raise Reached
            output = self.route.output(index).stand_in(hidden)
            notebook.returns(index, output)
            return output

        with suppress(Reached):
            self.forward(ids, called)
        return notebook.result(self.route.left)

    def head(self, ids: Tensor, hidden: Tensor) -> Tensor:
        """float32 logits (batch, sequence, vocabulary) from the last block's output. Only inside `outer`."""
        notebook, last = Notebook(), self.route.last(len(self))

        def called(index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if index == last:
                return self.route.end(index, hidden, self.device)
            output = self.route.output(index).stand_in(notebook.note(index, args, kwargs))
            notebook.returns(index, output)
            return output

        return self.forward(ids, called)

    def _calling(self, index: int) -> Callable[..., Any]:
        def call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if self._called is None:
                raise EngineError(f"{self.prefix(index)} of {self._folder.name} is called out of turn")
            return self._called(index, args, kwargs)

        return call

    def _check_ties(self, held: Mapping[str, TensorInfo]) -> None:
        for target, origin in self.names.tied.items():
            # Of a class that transformers has, `tied_head` has settled it.
            if target in held and origin in held and not are_equal(self._folder, held[target], held[origin]):
                raise SourceError(
                    f"{self._folder.name}: {target} differs from {origin}, "
                    "and the model's class ties the two",
                    hint=f"Say {TIED}: false in config.json.",
                )

    def _compute_buffers(self, module: nn.Module, prefix: str) -> None:
        """Buffers that are computed, not stored, as from_pretrained makes them.

        Args:
            prefix: the module's full name.

        Raises:
            SourceError: where a buffer is left without values.
        """
        computed: list[tuple[str, nn.Module, str]] = []
        for path, parent in module.named_modules():
            full = ".".join(filter(None, (prefix, path)))
            names = [n for n in parent._non_persistent_buffers_set if parent._buffers.get(n) is not None]
            if not names or f"{full}.".startswith(self._beside):
                continue
            for name in names:
                buffer = torch.empty_like(cast(Tensor, parent._buffers[name]), device="cpu")
                parent._buffers[name] = buffer.fill_(torch.nan) if buffer.is_floating_point() else buffer
                computed.append((full, parent, name))
            self._initialize(owner_of(self._model, full), parent)
        if _unset(computed) and prefix:
            # Some classes do it for all of their blocks at once.
            blocks, index = self._block_modules(), int(prefix.rpartition(".")[2])
            stand_in, blocks[index] = blocks[index], module
            owner = owner_of(self._model, self.blocks)
            self._initialize(owner, owner)
            blocks[index] = stand_in
        for full, _, name in _unset(computed):
            raise SourceError(f"{self.class_name} does not say how its buffer {full}.{name} is computed")

    def _initialize(self, owner: Any, module: nn.Module) -> None:
        # Weights are on the meta device, or are marked as what is not to be touched.
        with torch.no_grad():
            owner._init_weights(module)

    def _fill(self, module: nn.Module, prefix: str, origins: Iterable[Origin]) -> None:
        """Put what is read in its places in a module on the meta device."""
        for origin in origins:
            written = {self.names.written(source): source for source in origin.sources}
            if origin.converter is None:
                for _, tensor in self.read(written):
                    self._put(module, prefix, origin.targets[0], tensor)
                    del tensor
            else:
                tensors = {written[name]: tensor for name, tensor in self.read(written)}
                for name, tensor in origin.make(self._model, tensors).items():
                    self._put(module, prefix, name, tensor)

    def _put(self, module: nn.Module, prefix: str, name: str, tensor: Tensor) -> None:
        if not name.startswith(prefix):
            return
        # A copy of our own: what is mapped is neither to be kept nor to be written to.
        value = tensor.to(self.device, self._dtypes[name], copy=True)
        self._place(module, name.removeprefix(prefix), value)

    def _place(self, module: nn.Module, name: str, value: Tensor) -> None:
        path, _, leaf = name.rpartition(".")
        owner = module.get_submodule(path)
        if leaf in owner._parameters:
            owner._parameters[leaf] = value = nn.Parameter(value, requires_grad=False)
        else:
            owner._buffers[leaf] = value
        # As transformers marks what it has read: its own initialization leaves it alone.
        value._is_hf_initialized = True  # type: ignore[attr-defined]

    def _tie(self, module: nn.Module, prefix: str) -> None:
        """Fill the parameters that are another one's: of the same module, or of a block that is elsewhere."""
        elsewhere = (*self._beside, f"{self.blocks}.") if not prefix else ()
        for target, origin in self.names.tied.items():
            if not target.startswith(prefix) or target.startswith(elsewhere):
                continue
            if not origin.startswith(prefix):
                self._fill(module, prefix, [self.names.by_target[origin].instead(origin, target)])
                continue
            value = module.get_parameter(origin.removeprefix(prefix))
            path, _, leaf = target.removeprefix(prefix).rpartition(".")
            module.get_submodule(path)._parameters[leaf] = value

    def _move_buffers(self, module: nn.Module) -> None:
        for parent in module.modules():
            for name, present in parent._buffers.items():
                if present is not None and present.device != self.device and present.device.type != "meta":
                    parent._buffers[name] = present.to(self.device)


def _unset(computed: Iterable[tuple[str, nn.Module, str]]) -> list[tuple[str, nn.Module, str]]:
    """Buffers that still hold what they were filled with."""

    def is_unset(parent: nn.Module, name: str) -> bool:
        buffer = cast(Tensor, parent._buffers[name])
        return buffer.is_floating_point() and bool(buffer.isnan().any())

    return [(full, parent, name) for full, parent, name in computed if is_unset(parent, name)]
