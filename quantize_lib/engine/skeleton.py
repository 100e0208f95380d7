"""A model without its weights: its tree of modules, and where in it every tensor of the files belongs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

import torch
from torch import nn

from quantize_lib.architecture.facts import Architecture
from quantize_lib.architecture.families import TIED
from quantize_lib.architecture.strays import sort_strays, to_copy
from quantize_lib.architecture.tensors import LayerInfo, TensorInfo
from quantize_lib.engine.base_config import load_config
from quantize_lib.engine.module_tree import build, only_block_list, parts_beside
from quantize_lib.engine.names import MISMATCH, Names, Origin
from quantize_lib.engine.places import Places
from quantize_lib.errors import SourceError
from quantize_lib.wording import show


class Skeleton:
    """What config.json and the files' headers say, joined by the model's own class.

    Args:
        folder: the base model on disk; `config.json` is all of it that is read.
        facts: its config and headers.
        dtype: that parameters have where the class does not say another.
        trust_remote_code: passed on to transformers; only ever true inside a container.

    Attributes:
        blocks: full name in memory of the list of decoder blocks.
        names: which tensors on disk make which parameters.
        places: where in the blocks a linear layer of the files is.
        notes: what was found out of the files by the class alone, as those of `Architecture`.

    Raises:
        SourceError: where its class cannot be built, or files and class do not fit together.
    """

    def __init__(
        self, folder: Path, facts: Architecture, *, dtype: torch.dtype, trust_remote_code: bool = False
    ) -> None:
        self._folder = folder
        self._facts = facts
        self.config = load_config(folder, trust_remote_code=trust_remote_code)
        self.config.use_cache = False
        if hasattr(self.config, "rescale_every"):
            # RWKV halves hidden states every few blocks, and the layers that add to them, for float16's sake.
            self.config.rescale_every = 0
        if isinstance(facts.config.get(TIED), bool):
            # The files may have shown that the config is wrong there (`tied_head`).
            self.config.tie_word_embeddings = facts.config[TIED]
        self._model = build(folder, self.config, dtype=dtype, trust_remote_code=trust_remote_code)
        self.class_name = type(self._model).__name__
        self.blocks = only_block_list(self._model)
        self._originals: list[nn.Module] = list(self._block_modules())
        self.names = Names(self._model, facts.tensors, folder.name)
        held = {t: facts.tensors[o.sources[0]] for o in self.names.origins for t in o.targets}
        strays = [facts.tensors[name] for name in self.names.strays]
        self.notes = tuple(sort_strays(facts.config, held, strays))
        self._copied = (*facts.copied, *to_copy(facts.config, held, strays))
        self._check_ties(held)
        self.names.swap_tied()
        self._check_missing()
        self.places = Places(self._model, self.names, self.blocks, self._originals)
        self._layers: dict[int, list[LayerInfo]] = {}
        for layer in facts.layers:
            place = self.places.block_of(layer)
            if place is not None:
                self._layers.setdefault(place, []).append(layer)
        self._beside = tuple(f"{name}." for name in parts_beside(self._model, self.blocks))
        self._inside, self._outside = self._sorted_origins()

    def __len__(self) -> int:
        return len(self._originals)

    def prefix(self, index: int) -> str:
        """The full name of a block in memory, as in `model.layers.3`."""
        return f"{self.blocks}.{index}"

    def block_tensors(self, index: int) -> list[str]:
        """Names, as in a checkpoint, of the tensors that a block is made of."""
        return [self.names.written(name) for origin in self._inside[index] for name in origin.sources]

    def outside_tensors(self) -> list[str]:
        """Names, as in a checkpoint, of the tensors outside the blocks (tied copies are left out)."""
        return [self.names.written(name) for origin in self._outside for name in origin.sources]

    def outside_linears(self) -> tuple[str, ...]:
        """Full names in memory of the linear layers outside the blocks (`lm_head`)."""
        start = f"{self.blocks}."
        return tuple(
            name
            for name, module in self._model.named_modules()
            if isinstance(module, nn.Linear) and not name.startswith(start)
        )

    def inside_linears(self) -> tuple[str, ...]:
        """Full names in memory of the linear modules inside the blocks, quantized or not."""
        return tuple(
            f"{self.prefix(index)}.{name}"
            for index, block in enumerate(self._originals)
            for name, module in block.named_modules()
            if isinstance(module, nn.Linear)
        )

    def on_disk(self, modules: Iterable[str]) -> list[str]:
        """Names on disk of modules whose weights are stored as they are; else in memory."""
        return [self.written(f"{module}.weight").removesuffix(".weight") for module in modules]

    def written(self, parameter: str) -> str:
        """The name in a checkpoint of a parameter: its name on disk where it is stored as it is."""
        origin = self.names.by_target.get(parameter)
        if origin is None or origin.converter is not None:
            return parameter
        return self.names.written(origin.sources[0])

    def layer_names(self, index: int) -> dict[str, str]:
        """The names in a checkpoint of a block's layers, by their names in the block in memory."""
        return {self.places.find(layer).name: layer.name for layer in self._layers.get(index, ())}

    def matrices(self, index: int) -> list[str]:
        """Names in a block of the modules that have parameters of two or more dimensions of their own."""
        return [
            name
            for name, module in self._originals[index].named_modules()
            if any(value is not None and value.dim() > 1 for value in module._parameters.values())
        ]

    def shared_modules(self) -> set[str]:
        """Full names in memory of the modules whose parameters are those of another block as well."""
        start = f"{self.blocks}."
        return {
            origin.rpartition(".")[0]
            for target, origin in self.names.tied.items()
            if target.startswith(start) and origin.startswith(start)
        }

    def layer_tensors(self, index: int) -> dict[str, str]:
        """The names in a checkpoint of the tensors that hold a block's layers, by the layers' own there."""
        return {layer.name: self.names.written(layer.tensor) for layer in self._layers.get(index, ())}

    def module_of(self, layer: LayerInfo) -> str | None:
        """Full name in memory of the module that a layer is, or is part of; None where there is none."""
        if self.places.block_of(layer) is None:
            return None
        place = self.places.find(layer)
        return f"{self.prefix(place.block)}.{place.module}"

    def check_agreement(self) -> None:
        """See that the class has the layers that the headers show, and no others.

        Raises:
            SourceError: naming the tensor that is one thing by the headers and another in the class.
        """
        known = set(self._facts.kept)
        for layer in self._facts.layers:
            known.add(layer.tensor)
            # Of experts that are rearranged on loading only the tensor is known; no format holds them.
            if layer.expert is None or self.places.block_of(layer) is not None:
                self.places.find(layer)
        inside = {name for origins in self._inside.values() for origin in origins for name in origin.sources}
        for name in sorted(known - inside):
            if name not in self.names.strays and name in self._facts.kept:
                raise self._disagreement(
                    name, "is taken for a part of a block, and its class has it elsewhere"
                )
        for name in self._facts.tensors:
            if name in inside - known and len(self._facts.tensors[name].shape) > 1:
                raise self._disagreement(name, "is in a block of its class, and the headers do not show that")

    def _disagreement(self, name: str, problem: str) -> SourceError:
        return SourceError(
            f"{self._facts.tensors[name].file}: tensor {show(name)} of a {self.class_name} {problem}",
            hint="Report it: the model is built in a way that is not known yet.",
        )

    def _block_modules(self) -> nn.ModuleList:
        return cast(nn.ModuleList, self._model.get_submodule(self.blocks))

    def _check_ties(self, held: Mapping[str, TensorInfo]) -> None:
        """See that parameters that are one are stored once, or alike; without weights there is no telling."""

    def _check_missing(self) -> None:
        missing = self.names.missing()
        if missing:
            raise SourceError(
                f"{self._folder.name} has no tensor {missing[0]}"
                + (f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""),
                hint=MISMATCH,
            )

    def _sorted_origins(self) -> tuple[dict[int, list[Origin]], list[Origin]]:
        """What is read for each block, and outside them."""
        inside: dict[int, list[Origin]] = {index: [] for index in range(len(self))}
        outside = []
        start = f"{self.blocks}."
        for origin in self.names.origins:
            if all(target in self.names.tied for target in origin.targets):
                # A copy.
                continue
            target = next((name for name in origin.targets if name.startswith(start)), None)
            if target is None:
                outside.append(origin)
            else:
                inside[int(target.removeprefix(start).partition(".")[0])].append(origin)
        return inside, outside
