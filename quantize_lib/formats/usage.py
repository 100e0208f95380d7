"""How to load a checkpoint, in words that run as they stand."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from quantize_lib.formats.traits import Traits
from quantize_lib.methods import Settings
from quantize_lib.tasks import GENERATION, Task

_VERSION = re.compile(r"\d+(?:\.\d+)*(?:(?:a|b|rc|\.post|\.dev)\d+)?")


@dataclass(frozen=True, kw_only=True)
class Usage:
    """A checkpoint that somebody wants to load.

    Attributes:
        repository: `namespace/name`, or `name`.
        part: which part of the repository it is; empty where that is the checkpoint's alone.
        prompt: what is continued.
        task: what the model does.
        model: the base model's name.
        settings: as the manifest says.
        bits: of the cell.
        symmetric: whether all zero points are in the middle.
        group_size: resolved; None where the method has none.
        versions: of the libraries that were used here.
        traits: of the model.
    """

    repository: str
    prompt: str
    settings: Settings
    bits: int
    symmetric: bool
    group_size: int | None
    versions: Mapping[str, str]
    traits: Traits
    task: Task = GENERATION
    model: str = ""
    part: str = ""

    def vllm(self, *words: str) -> list[str]:
        """The command for vLLM, quoted for a shell; `words` are what it cannot find in the config."""
        return [shlex.quote(word) for word in ("vllm", "serve", self.repository, *words)]

    def sglang(self, *words: str) -> list[str]:
        """The command for SGLang, quoted for a shell; it reads the rest from the config, too."""
        command = ("python", "-m", "sglang.launch_server", "--model-path", self.repository, *words)
        return [shlex.quote(word) for word in command]


def pinned(versions: Mapping[str, str], *names: str) -> str:
    """Requirements with the versions that were used here; local parts (`+cpu`) are no index's business."""
    found = {name: _VERSION.match(versions.get(name, "")) for name in names}
    return " ".join(
        shlex.quote(f"{name}=={version[0]}" if version else name) for name, version in found.items()
    )


def gptqmodel_install(versions: Mapping[str, str]) -> str:
    """GPTQModel is a source package that is built against the torch that is there."""
    return (
        "pip install torch setuptools wheel "
        + pinned(versions, "transformers", "accelerate", "optimum")
        + "\npip install --no-build-isolation "
        + pinned(versions, "gptqmodel")
    )


def transformers_snippet(
    repository: str,
    prompt: str,
    task: Task,
    *,
    gguf_file: str | None = None,
    folder: str = "",
    with_config: bool = False,
) -> str:
    """Loads through transformers and uses the model for its task.

    Args:
        gguf_file: the file of the repository that is loaded in place of safetensors.
        folder: of the repository, in which all other files are.
        with_config: whether `config.json` counts, and not what that file says.
    """
    inside = f", subfolder={json.dumps(folder)}" if folder else ""
    asked = "" if gguf_file is None else f"gguf_file={json.dumps(gguf_file)}, "
    names, config = "AutoTokenizer", ""
    if with_config:
        names = f"AutoConfig, {names}"
        config = f"config = AutoConfig.from_pretrained(model_id{inside})\n"
        asked += "config=config, "
    return (
        f"from transformers import {task.auto_class}, {names}\n\n"
        f"model_id = {json.dumps(repository)}  # or the folder with these files\n"
        f"{config}"
        f'model = {task.auto_class}.from_pretrained(model_id, {asked}device_map="auto")\n'
        f"tokenizer = AutoTokenizer.from_pretrained(model_id{inside})\n"
    ) + _example(prompt, task)


def gptqmodel_snippet(repository: str, prompt: str) -> str:
    """Loads through GPTQModel and generates."""
    return (
        "from gptqmodel import GPTQModel\n\n"
        f"model_id = {json.dumps(repository)}  # or the folder with these files\n"
        "model = GPTQModel.load(model_id)\n"
        "tokenizer = model.tokenizer\n"
    ) + _example(prompt, GENERATION)


def _example(prompt: str, task: Task) -> str:
    # JSON's strings are Python's, with everything escaped that could end them.
    return (
        f'inputs = tokenizer({json.dumps(prompt)}, return_tensors="pt").to(model.device)\n'
    ) + task.example
