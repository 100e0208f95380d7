"""Which tensors on disk make which parameters in memory, by transformers' own rules for loading.

transformers renames tensors, adds and strips the base model's name, and converts: experts that are stored one
by one become one tensor, a fused projection becomes several. The same rules are asked here, and followed when
a block is read.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from quantize_lib.architecture.tensors import TensorInfo
from quantize_lib.errors import SourceError
from quantize_lib.wording import show

MISMATCH = "The safetensors files do not belong to this config.json."


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What is read together, and what it becomes.

    Attributes:
        sources: names on disk, in the order in which they are converted.
        targets: full names in memory.
        patterns: per source, which of the converter's patterns it matched.
        converter: transformers' own, or None where the tensor is taken as it is.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    patterns: tuple[str, ...] = ()
    converter: Any = None

    def instead(self, target: str, other: str) -> Origin:
        """The same, read into another parameter."""
        if self.converter is not None:
            raise SourceError(f"{other} is the same as {target}, which is converted on loading")
        return replace(self, targets=(other,))

    def make(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The parameters, by full name in memory.

        Args:
            tensors: by name on disk; on the meta device for shapes alone.
        """
        if self.converter is None:
            return {self.targets[0]: tensors[self.sources[0]]}
        work = copy.deepcopy(self.converter)
        for source, pattern in zip(self.sources, self.patterns, strict=True):
            work.add_tensor(self.targets[0], source, pattern, tensors[source])
        made = work.convert(self.targets[0], model=model, config=cast(Any, model).config)
        return {name: value[0] if isinstance(value, list) else value for name, value in made.items()}


class Names:
    """The way from disk to memory and back.

    Args:
        model: on the meta device, its blocks still in place.
        tensors: what the files hold, by name on disk.
        label: of the model, for messages.

    Attributes:
        by_source: by name on disk, what is read.
        by_target: by name in memory, the same.
        strays: names on disk that the class does not load.
        tied: parameters that are another one: name → name of the one that is read.

    Raises:
        SourceError: where two tensors become one parameter, or one is not of the shape that the config asks
            for.
    """

    def __init__(self, model: nn.Module, tensors: Mapping[str, TensorInfo], label: str) -> None:
        self._model = model
        self._tensors = tensors
        self._label = label
        state = model.state_dict()
        self._shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
        self._written: dict[str, str] = {}
        self.tied = dict(getattr(model, "all_tied_weights_keys", None) or {})
        order = {name: number for number, name in enumerate(tensors)}
        # In the order of the files: a checkpoint is written in it.
        made = sorted(self._made(self._collect(state)), key=lambda o: min(order[name] for name in o.sources))
        self.by_target = {target: origin for origin in made for target in origin.targets}
        self.by_source = {source: origin for origin in made for source in origin.sources}
        self.strays = tuple(name for name in tensors if name not in self.by_source)

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Everything that is read."""
        return tuple(dict.fromkeys(self.by_target.values()))

    def sources(self, parameter: str) -> tuple[str, ...]:
        """Names on disk of the tensors that a parameter is made of."""
        return self.by_target[self.tied.get(parameter, parameter)].sources

    def make(self, origin: Origin, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What becomes of tensors, given by name on disk; by full name in memory."""
        return origin.make(self._model, tensors)

    def swap_tied(self) -> None:
        """Tie from the other side where only the copy is stored, as transformers does."""
        for target, origin in self.tied.items():
            if target in self.by_target and origin not in self.by_target:
                # Loaders of checkpoints want the usual name.
                swapped = self.by_target.pop(target).instead(target, origin)
                self.by_target[origin] = self.by_source[swapped.sources[0]] = swapped
                self._written[swapped.sources[0]] = origin

    def missing(self) -> list[str]:
        """Names in memory of what the files do not hold."""
        return [name for name in self._shapes if name not in self.by_target and name not in self.tied]

    def written(self, source: str) -> str:
        """The name under which a tensor on disk is written to a checkpoint.

        The base model's name is put in front as the class has it; a renamed tensor keeps the name on disk.
        """
        return self._written[source]

    def _collect(self, state: dict[str, Tensor]) -> dict[str, tuple[Any, list[tuple[str, str]]]]:
        """First target → its converter and (name on disk, pattern) in the order of loading."""
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import (
            WeightConverter,
            WeightRenaming,
            dot_natural_key,
            rename_source_key,
        )

        transforms = get_model_conversion_mapping(cast(Any, self._model))
        renamings = [t for t in transforms if isinstance(t, WeightRenaming)]
        converters = [t for t in transforms if isinstance(t, WeightConverter)]
        by_pattern = {pattern: one for one in converters for pattern in one.source_patterns}
        prefix = str(getattr(self._model, "base_model_prefix", ""))
        collected: dict[str, tuple[Any, list[tuple[str, str]]]] = {}
        for source in sorted(self._tensors, key=dot_natural_key):
            target, pattern = rename_source_key(source, renamings, converters, prefix, state)
            if target not in state and source in state:
                target, pattern = rename_source_key(source, [], [], prefix, state)
            if target not in state:
                continue
            converter = None if pattern is None else by_pattern[pattern]
            held, sources = collected.setdefault(target, (converter, []))
            if held is not converter or (converter is None and sources):
                both = f"{show(sources[0][0])} and {show(source)}"
                raise SourceError(
                    f"{self._label}: {both} are both {target} to transformers",
                    hint="Remove the one that is not meant.",
                )
            sources.append((source, pattern or source))
            plain, _ = rename_source_key(source, renamings, converters)
            self._written[source] = source if plain == target or converter is not None else target
        return collected

    def _made(self, collected: Mapping[str, tuple[Any, list[tuple[str, str]]]]) -> tuple[Origin, ...]:
        origins = []
        for target, (converter, sources) in collected.items():
            origin = Origin(
                sources=tuple(name for name, _ in sources),
                patterns=tuple(pattern for _, pattern in sources),
                targets=(target,),
                converter=converter,
            )
            shapes = self._shapes_of(origin)
            for name, shape in shapes.items():
                if self._shapes.get(name, shape) != shape:
                    raise self._mismatch(origin, name, shape)
            if converter is not None:
                known = tuple(name for name in shapes if name in self._shapes)
                origin = Origin(
                    sources=origin.sources, patterns=origin.patterns, targets=known, converter=converter
                )
            origins.append(origin)
        return tuple(origins)

    def _shapes_of(self, origin: Origin) -> dict[str, tuple[int, ...]]:
        if origin.converter is None:
            return {origin.targets[0]: self._tensors[origin.sources[0]].shape}
        meta = {
            name: torch.empty(self._tensors[name].shape, device="meta")
            for name in dict.fromkeys(origin.sources)
        }
        try:
            return {name: tuple(made.shape) for name, made in origin.make(self._model, meta).items()}
        except (RuntimeError, ValueError, IndexError, KeyError, AttributeError, TypeError) as error:
            raise SourceError(
                f"{self._label}: {self._named(origin.sources)} cannot be converted to {origin.targets[0]} "
                f"as transformers does on loading: {error}",
                hint=MISMATCH,
            ) from error

    def _mismatch(self, origin: Origin, name: str, shape: tuple[int, ...]) -> SourceError:
        return SourceError(
            f"{self._label}: {self._named(origin.sources)} gives {name} the shape {list(shape)}, "
            f"config.json asks for {list(self._shapes[name])}",
            hint=MISMATCH,
        )

    def _named(self, sources: Iterable[str]) -> str:
        first, *others = sources
        return f"tensor {show(first)}" + (f" with {len(others)} more" if others else "")
