"""A family that multiplies a layer's output before it adds it makes up for errors as one that does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GraniteConfig

from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.shared_pass import SharedPass
from tests.support.families import VOCABULARY, save_family
from tests.support.passes import Memory, works
from tests.support.quantizing import Silent, model_facts

FACTOR = 0.5
"""A power of two: nothing is rounded otherwise."""
ADDING = ("o_proj", "down_proj")


def _made(base: Path) -> Mapping[str, Tensor]:
    facts = model_facts(base)
    text = torch.randint(3, VOCABULARY, (24, 128), generator=torch.Generator().manual_seed(5))
    model = StreamedModel(base, facts, device=torch.device("cpu"))
    (cell,) = works(facts, [("gptq", 4)], effort="standard")
    shared = SharedPass(model, [cell], calibration=text, evaluation=None, sample=0, reporter=Silent())
    assert shared.run().cells[cell.id].error is None
    return cast(Memory, cell.sink).tensors


def _as_granite(base: Path, folder: Path) -> Path:
    """The same function: what Granite halves is twice as large."""
    llama = AutoModelForCausalLM.from_pretrained(base)
    shape = {
        name: value
        for name, value in llama.config.to_dict().items()
        if name not in ("model_type", "architectures")
    }
    config = GraniteConfig(
        **shape,
        residual_multiplier=FACTOR,
        attention_multiplier=llama.config.head_dim**-0.5,
        embedding_multiplier=1.0,
        logits_scaling=1.0,
    )
    granite = AutoModelForCausalLM.from_config(config, dtype=llama.dtype)
    granite.load_state_dict(
        {
            name: tensor / FACTOR if name.split(".")[-2] in ADDING else tensor
            for name, tensor in llama.state_dict().items()
        }
    )
    granite.save_pretrained(folder)
    return folder


def test_codes_are_the_same_as_where_the_factor_is_in_the_weight(tmp_path: Path) -> None:
    base = save_family("llama", tmp_path / "llama")
    llama, granite = _made(base), _made(_as_granite(base, tmp_path / "granite"))
    assert llama.keys() == granite.keys()
    for name, tensor in llama.items():
        larger = name.split(".")[-2] in ADDING and name.endswith(("scales", "scale"))
        torch.testing.assert_close(granite[name], tensor / FACTOR if larger else tensor, rtol=0, atol=0)
