"""A model for whatever task, whose layers are read and quantized one by one, without a forward."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import get_keys_to_not_convert
from transformers.quantizers.quantizers_utils import should_convert_module

from quantize_lib.architecture.facts import Architecture
from quantize_lib.architecture.tensors import LayerInfo
from quantize_lib.engine.base_config import config_errors, load_config
from quantize_lib.engine.dtypes import disk_dtype, loaded_dtypes
from quantize_lib.engine.names import MISMATCH, Names, Origin
from quantize_lib.engine.shards import read_finite
from quantize_lib.errors import EngineError, SourceError
from quantize_lib.tasks import Task
from quantize_lib.wording import joined, show

_NAMED = 3


class LayeredModel:
    """The modules of a model, and its tensors as they are on disk.

    Args:
        folder: the base model on disk.
        facts: its config and headers.
        task: chooses the class of transformers.
        trust_remote_code: passed on to transformers; only ever true inside a container.

    Attributes:
        layers: the linear layers that transformers would quantize on loading, by full name in memory.
        notes: what was found out of the files by the class alone, as those of `Architecture`.

    Raises:
        SourceError: where its class cannot be built, or files and class do not fit together.
    """

    def __init__(
        self, folder: Path, facts: Architecture, *, task: Task, trust_remote_code: bool = False
    ) -> None:
        self._folder = folder
        self._facts = facts
        self.disk_dtype = disk_dtype(facts)
        self.blocks = ""
        config = load_config(folder, trust_remote_code=trust_remote_code)
        auto: Any = getattr(transformers, task.auto_class)
        with config_errors(folder), torch.device("meta"):
            self._model: Any = auto.from_config(
                config, dtype=self.disk_dtype, trust_remote_code=trust_remote_code
            )
        self.class_name = type(self._model).__name__
        said = facts.config["architectures"]
        if self.class_name not in said:
            raise SourceError(
                f"{folder.name} was saved as {show(said[0])}, and {task.auto_class} of transformers loads it "
                f"as {self.class_name}",
                hint=f"Save it once as {self.class_name} with save_pretrained.",
            )
        self._names = Names(self._model, facts.tensors, folder.name)
        self._names.swap_tied()
        self._check_missing()
        strays = self._names.strays
        self.notes = (_left_out(strays, self.class_name),) if strays else ()
        self._linears: dict[str, nn.Module] = {
            name: module
            for name, module in self._model.named_modules()
            if isinstance(module, Conv1D) or type(module) is nn.Linear
        }
        self._dtypes = loaded_dtypes(self._model, self.disk_dtype)
        self.layers = tuple(map(self._layer, self._convertible()))

    def outside_linears(self) -> tuple[str, ...]:
        """Full names of the linear layers that transformers would leave as they are."""
        layers = {layer.name for layer in self.layers}
        return tuple(name for name in self._linears if name not in layers)

    def inside_linears(self) -> tuple[str, ...]:
        """As of `StreamedModel`: there are no blocks."""
        return ()

    def on_disk(self, modules: Iterable[str]) -> list[str]:
        """Nothing is told of them under other names."""
        return list(modules)

    def module_of(self, layer: LayerInfo) -> str:
        """Full name in memory of the module that a layer is."""
        return layer.name

    def check_skipped(self, quantized: Iterable[str]) -> None:
        """See that a checkpoint that lists every other layer as skipped is loaded with just these quantized.

        Args:
            quantized: full names of linear layers.

        Raises:
            EngineError: where transformers, which takes the listed names for beginnings and endings, would
                skip more.
        """
        wanted = set(quantized)
        skipped = [*(name for name in self._linears if name not in wanted), *self._in_float32()]
        for name in wanted:
            if not should_convert_module(name, skipped):
                raise EngineError(
                    f"{name} cannot be quantized beside layers that are not: transformers would take it for "
                    "one of them",
                    hint="Quantize the layers whose names it begins or ends with, too.",
                )

    def origins(self) -> tuple[Origin, ...]:
        """What is read together, in the order of the files; tied copies are left out."""
        tied = self._names.tied
        return tuple(
            origin for origin in self._names.origins if not all(name in tied for name in origin.targets)
        )

    def read(self, origin: Origin) -> Iterator[tuple[str, Tensor]]:
        """Tensors by full name in memory.

        Raises:
            SourceError: where a shard cannot be read.
        """
        held = {name: read_finite(self._folder, self._facts.tensors[name]) for name in origin.sources}
        made = origin.make(self._model, held)
        yield from ((name, made[name]) for name in origin.targets)

    def written(self, origin: Origin, name: str) -> str:
        """The name under which what is not quantized is written to a checkpoint."""
        return name if origin.converter is not None else self._names.written(origin.sources[0])

    def kept_dtype(self, name: str) -> torch.dtype:
        """What transformers loads a tensor in that is not quantized: some overflow in float16.

        Of checkpoints that are quantized it takes weights in the dtype that they have on disk.
        """
        return self._dtypes[name]

    def matrix(self, name: str, weight: Tensor) -> Tensor:
        """float32 (out, in) of a layer's weight, whatever its own layout."""
        return (weight.T if isinstance(self._linears[name], Conv1D) else weight).float()

    def _layer(self, name: str) -> LayerInfo:
        outputs, inputs = self.matrix(name, cast(Tensor, self._linears[name].weight)).shape
        return LayerInfo(
            name=name,
            in_features=inputs,
            out_features=outputs,
            tensor=self._names.sources(f"{name}.weight")[0],
        )

    def _convertible(self) -> list[str]:
        """The linear layers that transformers quantizes on loading, without the last one of a head.

        transformers means to leave that out as well, and does where it has no bias; with few outputs
        bitsandbytes does not compute it on every CPU, and there is little to save.
        """
        skipped = {*get_keys_to_not_convert(self._model), *self._in_float32()}
        last = list(self._model.named_parameters())[-1][0].rpartition(".")[0]
        if self._model.base_model is not self._model and not last.startswith(
            self._model.base_model_prefix + "."
        ):
            skipped.add(last)
        names = list(self._linears)
        while True:
            # When a checkpoint is loaded, transformers skips all that a listed name begins or ends.
            found = [name for name in names if should_convert_module(name, sorted(skipped))]
            if found == names:
                return found
            skipped |= {name for name in names if name not in found}
            names = found

    def _in_float32(self) -> list[str]:
        kept: Iterable[str] | None = self._model._keep_in_fp32_modules
        return list(kept or ())

    def _check_missing(self) -> None:
        made_up = [re.compile(pattern) for pattern in self._model._keys_to_ignore_on_load_missing or ()]
        missing = [
            name for name in self._names.missing() if not any(pattern.search(name) for pattern in made_up)
        ]
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise SourceError(f"{self._folder.name} has no tensor {missing[0]}{more}", hint=MISMATCH)


def _left_out(strays: tuple[str, ...], class_name: str) -> str:
    shown = [show(name) for name in strays[:_NAMED]]
    more = [f"{len(strays) - _NAMED} more"] if len(strays) > _NAMED else []
    return f"a {class_name} does not load {joined([*shown, *more])}: left out"
