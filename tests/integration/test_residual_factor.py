"""A family that multiplies a layer's output before it adds it makes up for errors as one that does not."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, GraniteConfig

from tests.support.families import save_family
from tests.support.quantizing import made_in_one_pass

FACTOR = 0.5
"""A power of two: nothing is rounded otherwise."""
ADDING = ("o_proj", "down_proj")


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
    llama, granite = (
        made_in_one_pass(folder, [("gptq", 4)], effort="standard")[0]["gptq-4"]
        for folder in (base, _as_granite(base, tmp_path / "granite"))
    )
    assert llama.keys() == granite.keys()
    for name, tensor in llama.items():
        larger = name.split(".")[-2] in ADDING and name.endswith(("scales", "scale"))
        torch.testing.assert_close(granite[name], tensor / FACTOR if larger else tensor, rtol=0, atol=0)
