"""How to load a checkpoint, in words that run as they stand."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from quantize_lib.methods import Settings

_VERSION = re.compile(r"\d+(?:\.\d+)*(?:(?:a|b|rc|\.post|\.dev)\d+)?")


@dataclass(frozen=True, kw_only=True)
class Usage:
    """A checkpoint that somebody wants to load.

    Attributes:
        repository: `namespace/name`, or `name`.
        prompt: what is continued.
        settings: as the manifest says.
        bits: of the cell.
        symmetric: whether all zero points are in the middle.
        group_size: resolved; None where the method has none.
        versions: of the libraries that were used here.
    """

    repository: str
    prompt: str
    settings: Settings
    bits: int
    symmetric: bool
    group_size: int | None
    versions: Mapping[str, str]

    def vllm(self, *words: str) -> list[str]:
        """The command for vLLM, quoted for a shell; `words` are what it cannot find in the config."""
        return [shlex.quote(word) for word in ("vllm", "serve", self.repository, *words)]


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


def transformers_snippet(repository: str, prompt: str) -> str:
    """Loads through transformers and generates."""
    return (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f"model_id = {json.dumps(repository)}  # or the folder with these files\n"
        'model = AutoModelForCausalLM.from_pretrained(model_id, device_map="auto")\n'
        "tokenizer = AutoTokenizer.from_pretrained(model_id)\n"
    ) + _generate(prompt)


def gptqmodel_snippet(repository: str, prompt: str) -> str:
    """Loads through GPTQModel and generates."""
    return (
        "from gptqmodel import GPTQModel\n\n"
        f"model_id = {json.dumps(repository)}  # or the folder with these files\n"
        "model = GPTQModel.load(model_id)\n"
        "tokenizer = model.tokenizer\n"
    ) + _generate(prompt)


def _generate(prompt: str) -> str:
    # JSON's strings are Python's, with everything escaped that could end them.
    return (
        f'inputs = tokenizer({json.dumps(prompt)}, return_tensors="pt").to(model.device)\n'
        "tokens = model.generate(**inputs, max_new_tokens=50)\n"
        "print(tokenizer.decode(tokens[0], skip_special_tokens=True))"
    )
