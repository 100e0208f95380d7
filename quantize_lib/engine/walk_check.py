"""Shows on one short text that the walk from block to block computes what the model's own forward computes.

The forward goes through the real blocks, each read when its turn comes; the walk goes through the same blocks
at the same time. It teaches the walk in which form each block returns, and is done before hours are spent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from quantize_lib.architecture.blocks import of_all_blocks
from quantize_lib.architecture.facts import Architecture
from quantize_lib.engine.base_config import RAISED
from quantize_lib.engine.carried import State, pack, start
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.notebook import Notebook
from quantize_lib.engine.proof_file import ProofFile
from quantize_lib.engine.walk import Output, Route
from quantize_lib.engine.watch import removed
from quantize_lib.errors import EngineError, SourceError
from quantize_lib.text import plain
from quantize_lib.wording import joined, show

PROOF_TOKENS = 32
UNCALLED = "text does not pass through it as a layer"
SHARED = "several blocks share it"
"""Why layers are left out that only the class shows to be none to quantize."""
Facts = TypeVar("Facts", bound=Architecture)
_TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 2e-2}
"""How far logits may be apart, as a part of the largest; in float32 nearly all models differ by nothing."""


def usable(model: StreamedModel, facts: Facts, text: Tensor | None, proof: ProofFile | None = None) -> Facts:
    """Prove the walk, and leave out the layers that cannot be quantized after all.

    Args:
        text: token ids, int64 (samples, length); None where nothing is carried through the blocks.
        proof: where an earlier process kept it, and this one does.

    Returns:
        The same facts where there are no such layers.

    Raises:
        SourceError: where the model cannot be walked.
    """
    reasons = dict.fromkeys(() if text is None else _uncalled(model, text, proof), UNCALLED)
    reasons |= dict.fromkeys(model.shared_modules(), SHARED)
    if not reasons:
        return facts
    found = {layer.name: reasons.get(model.module_of(layer) or "") for layer in facts.layers}
    kept = {layer.tensor: reason for layer in facts.layers if (reason := found[layer.name]) is not None}
    notes = tuple(
        f"{joined(names)} stay in full precision: {reason}"
        for reason in (UNCALLED, SHARED)
        if (names := dict.fromkeys(show(of_all_blocks(name)) for name, why in found.items() if why == reason))
    )
    return replace(
        facts,
        layers=tuple(layer for layer in facts.layers if found[layer.name] is None),
        kept={**facts.kept, **kept},
        notes=(*facts.notes, *notes),
    )


def _uncalled(model: StreamedModel, text: Tensor, proof: ProofFile | None) -> tuple[str, ...]:
    known = None if proof is None else proof.load()
    if known is not None:
        model.route, uncalled = known
        return uncalled
    uncalled = prove_walk(model, text)
    if proof is not None:
        proof.save(model.route, uncalled)
    return uncalled


def prove_walk(model: StreamedModel, ids: Tensor) -> tuple[str, ...]:
    """Compare the two, and teach the model how its blocks are called.

    Args:
        ids: int64 (1, length), a few tokens of real text.

    Returns:
        Full names in memory of the modules with matrices in the blocks that are never called: for text they
        have nothing to do, or their weights are read without a call.

    Raises:
        SourceError: where the two differ, or the model's forward does not go from block to block.
    """
    ids = ids[:1, :PROOF_TOKENS].to(model.device)
    walk = _Walk(model)
    try:
        with torch.inference_mode(), model.outer():
            own = model.forward(ids, walk.block)
            walked = walk.finish(ids, own)
    except EngineError as error:
        raise _refusal(model, error.message) from error
    except RAISED as error:
        raise _refusal(model, f"{type(error).__name__}: {plain(str(error))}") from error
    size = float(own.abs().max())
    difference = float((own - walked).abs().max())
    # Not the other way round: NaN is no small difference.
    if not difference <= _TOLERANCE[model.compute_dtype] * size:
        raise _refusal(
            model,
            f"walked from block to block its logits differ by {difference:.3g} from its own, of which the "
            f"largest is {size:.3g}",
        )
    return walk.uncalled()


def _refusal(model: StreamedModel, reason: str) -> SourceError:
    return SourceError(
        f"{model.class_name} cannot be taken through its blocks one by one: {reason}",
        hint="Choose another model.",
    )


class _Walk:
    """Both ways at once.

    Attributes:
        notebook: of the model's own forward.
        outputs: by block, the form in which it returned.
        state: what the walk carries, all of it.
    """

    def __init__(self, model: StreamedModel) -> None:
        self.notebook = Notebook()
        self.outputs: dict[int, Output] = {}
        self.state: State = {}
        self._model = model
        self._modules: dict[str, bool] = {}

    def block(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A block's call in the model's own forward."""
        hidden = self.notebook.note(index, args, kwargs)
        if not self.state:
            self.state = start(hidden.clone())
        block = self._model.load_block(index)
        given = hidden.clone()
        with self._noting(index, block):
            output = block(*args, **kwargs)
        if not torch.equal(hidden, given):
            # Texts share their hidden states.
            raise EngineError(f"block {index} writes over the hidden states that it is given")
        self.state = self.notebook.call(index).run(block, self.state)
        self.notebook.returns(index, output)
        self.outputs[index] = Output.of(output)
        return output

    def finish(self, ids: Tensor, own: Tensor) -> Tensor:
        """Teach the model its route.

        Args:
            own: logits of its own forward.

        Returns:
            Logits at the end of the walk.

        Raises:
            EngineError: where blocks are called with something that a forward over stand-ins does not show.
        """
        model = self._model
        _, noted = self.notebook.result()
        last = f"{max(self.outputs)}/"
        left = {key: value for key, value in self.state.items() if key.startswith(last)}
        model.route = Route(self.outputs)
        walked = model.head(ids, pack(dict(list(left.items())[:1])))
        if not torch.equal(own, walked):
            # Few models go on with more than the first tensor of the last block.
            model.route = Route(self.outputs, tuple(range(len(left))))
            walked = model.head(ids, pack(left))
        _, calls = model.embed(ids)
        if calls.like(noted) is not noted:
            raise EngineError("what its blocks are called with depends on what they return")
        return walked

    def uncalled(self) -> tuple[str, ...]:
        """Modules that were never called, nor any of the same name in another block or place of a list."""
        called = {of_all_blocks(name) for name, seen in self._modules.items() if seen}
        passed = [
            f"{self._model.prefix(index)}.{name}"
            for index in range(len(self._model))
            if index not in self.outputs
            for name in self._model.matrices(index)
        ]
        return (*passed, *(name for name in self._modules if of_all_blocks(name) not in called))

    @contextmanager
    def _noting(self, index: int, block: nn.Module) -> Iterator[None]:
        handles = []
        for name in self._model.matrices(index):
            full = f"{self._model.prefix(index)}.{name}"
            self._modules.setdefault(full, False)
            handles.append(block.get_submodule(name).register_forward_pre_hook(self._seen(full)))
        with removed(handles):
            yield

    def _seen(self, name: str) -> Any:
        def hook(_module: nn.Module, _args: Any) -> None:
            self._modules[name] = True

        return hook
