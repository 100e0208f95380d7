"""How to load a checkpoint: snippets that run as they stand."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from quantize_lib.plan.cells import Cell
from quantize_lib.report.records import CellRecord

_VERSION = re.compile(r"\d+(?:\.\d+)*(?:(?:a|b|rc|\.post|\.dev)\d+)?")
_MARLIN_GROUPS = (-1, 32, 64, 128)
"""Group sizes of vLLM's fast GPTQ kernel; its fallback computes in float16 only."""


@dataclass(frozen=True, kw_only=True)
class Snippets:
    """What to type.

    Attributes:
        install: shell lines.
        python: loads the model and generates.
        loader: which library the snippet loads through.
        vllm: a shell line.
    """

    install: str
    python: str
    loader: str
    vllm: str


def snippets(record: CellRecord, cell: Cell, *, prompt: str) -> Snippets:
    """The snippets for one checkpoint."""
    overrides = record.method == "gptq" and bool(cell.settings.overrides)
    return Snippets(
        install=_install(record),
        python=_python(cell.repository, prompt, through_gptqmodel=overrides),
        loader="GPTQModel" if overrides else "transformers",
        vllm=_vllm(record, cell),
    )


def _install(record: CellRecord) -> str:
    if record.method == "bitsandbytes":
        return "pip install torch " + _pinned(record.versions, "transformers", "accelerate", "bitsandbytes")
    # GPTQModel is a source package that is built against the torch that is there.
    return (
        "pip install torch setuptools wheel "
        + _pinned(record.versions, "transformers", "accelerate", "optimum")
        + "\npip install --no-build-isolation "
        + _pinned(record.versions, "gptqmodel")
    )


def _pinned(versions: Mapping[str, str], *names: str) -> str:
    """Requirements with the versions that were used here; local parts (`+cpu`) are no index's business."""
    found = {name: _VERSION.match(versions.get(name, "")) for name in names}
    return " ".join(
        shlex.quote(f"{name}=={version[0]}" if version else name) for name, version in found.items()
    )


def _python(repository: str, prompt: str, *, through_gptqmodel: bool) -> str:
    # JSON's strings are Python's, with everything escaped that could end them.
    name, text = json.dumps(repository), json.dumps(prompt)
    if through_gptqmodel:
        load = (
            "from gptqmodel import GPTQModel\n\n"
            f"model_id = {name}  # or the folder with these files\n"
            "model = GPTQModel.load(model_id)\n"
            "tokenizer = model.tokenizer\n"
        )
    else:
        load = (
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            f"model_id = {name}  # or the folder with these files\n"
            'model = AutoModelForCausalLM.from_pretrained(model_id, device_map="auto")\n'
            "tokenizer = AutoTokenizer.from_pretrained(model_id)\n"
        )
    return load + (
        f'inputs = tokenizer({text}, return_tensors="pt").to(model.device)\n'
        "tokens = model.generate(**inputs, max_new_tokens=50)\n"
        "print(tokenizer.decode(tokens[0], skip_special_tokens=True))"
    )


def _vllm(record: CellRecord, cell: Cell) -> str:
    """vLLM reads the method from config.json; only what it cannot find there is said."""
    words = ["vllm", "serve", cell.repository]
    if record.method == "bitsandbytes":
        words += ["--quantization", "bitsandbytes"]
    elif record.method == "gptq":
        fast = (
            record.bits in (4, 8)
            and cell.settings.sym
            and record.settings.get("group_size") in _MARLIN_GROUPS
        )
        words += [] if fast else ["--dtype", "float16"]
    return shlex.join(words)
