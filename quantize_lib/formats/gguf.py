"""GGUF: one file with weights, config and vocabulary, for llama.cpp and what is built on it."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantize_lib.errors import CheckpointError
from quantize_lib.files import read_json
from quantize_lib.formats.context import CheckpointContext
from quantize_lib.formats.entry import Format
from quantize_lib.formats.loading import Loaded, LoadRequest, load_tensors, load_with_transformers
from quantize_lib.formats.rounded import RoundedLayer
from quantize_lib.formats.served import LLAMA_CPP
from quantize_lib.formats.traits import Traits
from quantize_lib.formats.usage import Usage, transformers_snippet
from quantize_lib.formats.whole import WholeModel
from quantize_lib.gguf_file.choices import CHOICES, choices_for, file_type_of
from quantize_lib.gguf_file.families import in_transformers, needs_config, refusal
from quantize_lib.gguf_file.mix import Mix
from quantize_lib.gguf_file.names import types_of
from quantize_lib.gguf_file.rotary import by_context
from quantize_lib.gguf_file.types import BLOCKS, FILE_TYPES, FULL, tensor_bytes
from quantize_lib.gguf_file.vocabulary import vocabulary_refusal
from quantize_lib.methods import Settings
from quantize_lib.methods.common import is_automatic, target_word
from quantize_lib.methods.gguf import RESULT, TYPE

if TYPE_CHECKING:
    from torch import Tensor

_FILE = "gguf_file"
"""Where `quantization_config` names the file, as transformers' own does."""
_LLAMA_CPP = "[llama.cpp](https://github.com/ggml-org/llama.cpp)"
_PYTHON = "llama-cpp-python"
_INSTALL = f"pip install {_PYTHON} huggingface_hub"
_TOKEN_BYTES = 40
"""Of a token with its merge, about."""
_TENSOR_BYTES = 80
"""Of a tensor in the file's header, about, with what is left free behind it."""


class _Gguf(Format):
    name = "gguf"
    order = 5
    summary = "`gguf` (one file for llama.cpp)"
    quant_method = "gguf"
    bits = (4, 5, 6, 8)
    bits_note = "its types have these"
    result = RESULT
    exclusive = True
    mixed = True
    splits = False
    servers = (LLAMA_CPP,)
    limit = (
        "The file is for llama.cpp and what is built on it; transformers, where it reads such files, unpacks "
        "all of it as it loads."
    )
    requirements = ("transformers", "accelerate", "gguf")
    written_by = ("libgguf",)
    rounds_outside = True
    kinds = CHOICES
    holds_tokenizer = True
    files = "*.gguf"
    stays = "norms and biases: they are in float32 in the file"

    def writers(self, settings: Settings) -> tuple[str, ...]:
        # The `gguf` package writes this one type, which takes no importance, itself.
        return () if settings[TYPE] == "Q8_0" else self.written_by

    def part(self, settings: Settings) -> str:
        return target_word(settings) or settings[TYPE]

    def alike(self, traits: Traits) -> str | None:
        if not traits.experts:
            return None
        return "the experts of a block are one tensor of the file, of which no types are chosen one by one"

    def refuses(self, traits: Traits) -> str | None:
        if traits.part:
            return "no GGUF files are made of the language model in a larger one"
        return refusal(traits.model_type, traits.config)

    def layer_bytes(
        self, in_features: int, out_features: int, *, bits: int, groups: int, settings: Settings
    ) -> tuple[float, int]:
        kind = Mix(file_type=settings[TYPE], blocks=1, tied=False, shares_values=False)
        return tensor_bytes(kind.tensor_type("", in_features), (out_features, in_features)), 1

    def types(self, model: WholeModel, settings: Settings) -> Mapping[str, str]:
        if not is_automatic(settings):
            return types_of(model.config, model.shapes, model.kept, settings[TYPE])
        chosen = {name: settings.types[name] for name in self.choices(model)}
        return {**_simplest(model), **chosen}

    def choices(self, model: WholeModel) -> Mapping[str, Mapping[str, int]]:
        shapes = {name: model.shapes[name] for name in _simplest(model)}
        return {
            name: {kind: tensor_bytes(kind, shape) for kind in kinds}
            for name, shape in shapes.items()
            if (kinds := choices_for(shape[-1]))
        }

    def whole_bytes(self, model: WholeModel, settings: Settings) -> int:
        return _tensors_bytes(model, self.types(model, settings)) + _header_bytes(model)

    def bytes_beside(self, model: WholeModel, base: Path | None) -> int:
        chosen = self.choices(model)
        others = {name: shape for name, shape in model.shapes.items() if name not in chosen}
        tensors = _tensors_bytes(replace(model, shapes=others), _simplest(model))
        if base is None:
            return tensors + _header_bytes(model)
        from quantize_lib.gguf_file.writer import header_bytes

        return tensors + header_bytes(base, model.config, model.shapes)

    def pack(self, layer: RoundedLayer) -> dict[str, Tensor]:
        assert layer.parts is not None, "a method of this format gives blocks"
        return dict(layer.parts)

    def weight(self, parts: Mapping[str, Tensor], kind: str) -> Tensor:
        from quantize_lib.gguf_file.blocks import from_blocks

        return from_blocks(parts["weight"], kind)

    def refuses_files(self, base: Path, rows: int | None = None) -> str | None:
        return vocabulary_refusal(base, rows)

    def quantization_config(self, context: CheckpointContext) -> dict[str, Any]:
        """What transformers' `GgufConfig` holds; the rest is in the file itself."""
        kind = context.settings[TYPE]
        return {
            "quant_method": self.quant_method,
            _FILE: _file_name(context.model, self.part(context.settings)),
            "type": kind,
            "tensors": dict(sorted(Counter(context.types.values()).items())),
        }

    def complete(self, folder: Path, base: Path, context: CheckpointContext) -> Path:
        from quantize_lib.gguf_file.writer import write_file

        automatic = is_automatic(context.settings)
        config = read_json(folder / "config.json")
        shards = sorted(folder.glob("*.safetensors"))
        file = folder / str(config["quantization_config"][_FILE])
        try:
            write_file(
                file,
                shards,
                base=base,
                config=context.traits.config,
                types=context.types,
                name=context.model,
                file_type=file_type_of(context.types.values()) if automatic else context.settings[TYPE],
            )
        except OSError as error:
            raise CheckpointError(f"{folder} cannot be written: {error.strerror or error}") from error
        for shard in (*shards, folder / "model.safetensors.index.json"):
            shard.unlink(missing_ok=True)
        return file

    def served_path(self, folder: Path, quantization: Mapping[str, Any]) -> Path:
        file = str(quantization.get(_FILE))
        if Path(file).name != file:
            raise ValueError(f"config.json names {file!r}, which is no file of the folder")
        return folder / file

    def load(self, request: LoadRequest, quantization: Mapping[str, Any]) -> Loaded:
        file = self.served_path(Path(request.folder), quantization)
        config = read_json(file.with_name("config.json"))
        if not in_transformers(str(config["model_type"])):
            return load_tensors(request, partial(_read_tensors, file), loader="gguf")
        with_config = needs_config(config)
        with _names_made_once():
            return load_with_transformers(request, gguf_file=file.name, with_config=with_config)

    def cautions(self, settings: Settings, traits: Traits) -> tuple[str, ...]:
        found = [] if is_automatic(settings) else _misfits(settings[TYPE], traits)
        if (length := by_context(traits.config)) is not None:
            found.append(
                f"Where its context is set to more than {length} tokens, llama.cpp turns short texts as long "
                "ones; transformers does not."
            )
        if not in_transformers(traits.model_type):
            found.append(
                f"transformers does not read GGUF files of {traits.model_type}: the checkpoint is checked by "
                "what the package gguf reads back, in the base model's class."
            )
        return tuple(found)

    def usage(self, use: Usage) -> dict[str, str]:
        file = _file_name(use.model, self.part(use.settings))
        if not in_transformers(use.traits.model_type):
            return {
                "install": _INSTALL,
                "python": _llama_cpp_snippet(use.repository, file, use.prompt),
                "loader": f"{_PYTHON}, not run here",
                "vllm": "",
                "sglang": "",
            }
        return {
            **super().usage(use),
            "python": transformers_snippet(
                use.repository,
                use.prompt,
                use.task,
                gguf_file=file,
                folder=use.part,
                with_config=needs_config(use.traits.config),
            ),
            "vllm": "",
            "sglang": "",
        }

    def library(self, model_type: str) -> str:
        return super().library(model_type) if in_transformers(model_type) else _PYTHON

    def also_loaded(self, use: Usage) -> tuple[tuple[str, str], ...]:
        part = self.part(use.settings)
        return self.parts_loaded(use.repository, {part: _file_name(use.model, part)}, use.prompt)

    def parts_loaded(
        self, repository: str, files: Mapping[str, str], prompt: str
    ) -> tuple[tuple[str, str], ...]:
        asked = shlex.quote(prompt)
        if "/" not in repository:
            lines = [f"llama-cli -m {shlex.quote(file)} -p {asked}" for file in files.values()]
            return ((_LLAMA_CPP, "\n".join(lines)),)
        named = {part: shlex.quote(f"{repository}:{part}") for part in files}
        # The Hub, which Ollama asks, knows types by their names, and every other file by its own.
        tags = [part if part in FILE_TYPES else file for part, file in files.items()]
        ollama = [f"ollama run {shlex.quote(f'hf.co/{repository}:{tag}')}" for tag in tags]
        return (
            (_LLAMA_CPP, "\n".join(f"llama-cli -hf {name} -p {asked}" for name in named.values())),
            ("[Ollama](https://ollama.com)", "\n".join(ollama)),
        )


@contextmanager
def _names_made_once() -> Iterator[None]:
    """Let transformers 5.23 make the table of tensors' names once instead of once for each module.

    That is a third of the time in which it loads a small model (19 → 13 s of SmolLM2-135M on one core).
    """
    import gguf

    made = gguf.get_tensor_name_map
    gguf.get_tensor_name_map = cache(made)
    try:
        yield
    finally:
        gguf.get_tensor_name_map = made


def _read_tensors(file: Path, config: Mapping[str, Any], dtype: Any) -> dict[str, Tensor]:
    from quantize_lib.gguf_file.reader import read_tensors

    return read_tensors(file, config, dtype)


def _llama_cpp_snippet(repository: str, file: str, prompt: str) -> str:
    """Loads through llama-cpp-python, llama.cpp's binding, and continues a text."""
    call = f"Llama(model_path={json.dumps(file)})"
    if "/" in repository:
        call = f"Llama.from_pretrained(repo_id={json.dumps(repository)}, filename={json.dumps(file)})"
    return (
        "from llama_cpp import Llama\n\n"
        f"model = {call}\n"
        f'print(model({json.dumps(prompt)}, max_tokens=64)["choices"][0]["text"])\n'
    )


def _file_name(model: str, part: str) -> str:
    return f"{model}-{part}.gguf"


def _misfits(file_type: str, traits: Traits) -> list[str]:
    """Which rows get another type than most, as the blocks of that do not fit into them."""
    mix = Mix(file_type=file_type, blocks=1, tied=False, shares_values=False)
    base = FILE_TYPES[file_type].base
    others: dict[str, list[int]] = {}
    for columns in sorted({inputs for inputs, _ in traits.sizes}):
        kind = mix.tensor_type("", columns)
        if kind != base:
            others.setdefault(kind, []).append(columns)
    return [
        f"Rows of {', '.join(map(str, sizes))} weights do not fit into the blocks of {base}: they are "
        f"stored as {kind}, as llama.cpp does it."
        for kind, sizes in others.items()
    ]


def _simplest(model: WholeModel) -> Mapping[str, str]:
    """The types of a model's tensors in the file whose blocks fit into most rows."""
    return types_of(model.config, model.shapes, model.kept, "Q8_0")


def _tensors_bytes(model: WholeModel, types: Mapping[str, str]) -> int:
    """Of all tensors: those that have no type are in float32, or as they are on disk."""

    def stored(name: str, shape: tuple[int, ...]) -> str:
        whole = FULL if len(shape) < 2 else model.dtypes.get(name, "")
        return types.get(name, whole if whole in BLOCKS else "BF16")

    return sum(tensor_bytes(stored(name, shape), shape) for name, shape in model.shapes.items())


def _header_bytes(model: WholeModel) -> int:
    """About what stands before the tensors."""
    return _TENSOR_BYTES * len(model.shapes) + _TOKEN_BYTES * int(model.config["vocab_size"])


FORMAT = _Gguf()
