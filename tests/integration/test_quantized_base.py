"""Bases in FP8 and MXFP4 are read as transformers dequantizes them, and quantized as that model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    CompressedTensorsConfig,
    FineGrainedFP8Config,
    GptOssConfig,
)
from transformers.utils.quantization_config import Mxfp4Config

from quantize_lib.engine.shards import read_tensor
from quantize_lib.evaluate.check import generate_base
from quantize_lib.files import read_json
from quantize_lib.source.dequantized import dequantized
from quantize_lib.source.headers import read_header
from quantize_lib.source.local import read_facts
from quantize_lib.source.model_spec import ModelSpec
from quantize_lib.source.tidied import tidied
from tests.support.families import save_family
from tests.support.in_process import reload_at_once, run_here
from tests.support.odd_weights import SINGLE, rewrite
from tests.support.quantized_bases import make_fp8, make_mxfp4
from tests.support.quantizing import Silent
from tests.support.small_runs import manifest, save_tiny_model

BLOCK = (64, 64)


def gpt_oss(folder: Path) -> Path:
    torch.manual_seed(0)
    config = GptOssConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        num_local_experts=4,
        num_experts_per_tok=2,
        vocab_size=64,
        max_position_embeddings=128,
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    return make_mxfp4(folder)


def base_in(layout: str, folder: Path) -> tuple[Path, Any]:
    """A quantized base, and how transformers is asked to dequantize it."""
    if layout == "MXFP4":
        return gpt_oss(folder), Mxfp4Config(dequantize=True)
    save_family("qwen3", folder, dtype=torch.bfloat16)
    make_fp8(folder, layout, block=BLOCK)
    if layout == "block":
        return folder, FineGrainedFP8Config(dequantize=True, weight_block_size=BLOCK)
    return folder, CompressedTensorsConfig(dequantize=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layout", ["block", "channel", "tensor", "MXFP4"])
def test_a_quantized_base_is_read_as_transformers_dequantizes_it(layout: str, tmp_path: Path) -> None:
    folder, asked = base_in(layout, tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, quantization_config=asked)
    loaded = model.state_dict()
    seen = dequantized(read_json(folder / "config.json"), read_header(folder / SINGLE, file=SINGLE))
    stored = [name for name, info in seen.items() if info.stored is not None]
    assert len(stored) == (2 if layout == "MXFP4" else 14)
    assert seen.keys() == loaded.keys()
    for name, info in seen.items():
        tensor = read_tensor(folder, info)
        assert (tensor.shape, tensor.dtype) == (info.shape, torch.bfloat16), name
        assert torch.equal(tensor, loaded[name]), name


def test_checkpoints_are_those_of_the_dequantized_model_and_say_what_it_was_made_from(
    tmp_path: Path, calibration_text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reload_at_once(monkeypatch)
    cells = [{"method": "gptq", "bits": 4}, {"method": "bitsandbytes", "bits": 4}]
    made: dict[str, dict[str, torch.Tensor]] = {}
    configs: dict[str, Any] = {}
    for kind in ("fp8", "dequantized"):
        folder = tmp_path / kind
        model = save_tiny_model(folder / "model", calibration_text)
        make_fp8(model, "block", block=BLOCK)
        if kind == "dequantized":
            seen = dequantized(read_json(model / "config.json"), read_header(model / SINGLE, file=SINGLE))
            rewrite(model, {name: read_tensor(model, info).clone() for name, info in seen.items()})
            config = read_json(model / "config.json")
            del config["quantization_config"]
            (model / "config.json").write_text(json.dumps(config))
        path = manifest(folder, model, calibration_text, cells)
        if kind == "fp8":
            path.write_text(path.read_text().replace("- id:", "- allow_quantized_base: true\n  id:"))
        code, records = run_here(path, folder / "out", Silent())
        assert code == 0, {name: record.error for name, record in records.items()}
        for name, record in records.items():
            checkpoint = folder / "out" / name
            card = (checkpoint / "README.md").read_text(encoding="utf-8")
            told = [note for note in record.notes if "made from an FP8 base: 14 of its tensors" in note]
            assert bool(told) == ("made from an FP8 base" in card) == (kind == "fp8")
            made[f"{kind} {name}"] = load_file(checkpoint / SINGLE)
            configs[f"{kind} {name}"] = read_json(checkpoint / "config.json")
    for name in ("tiny-gptq-4bit", "tiny-bnb-4bit"):
        ours, theirs = made[f"fp8 {name}"], made[f"dequantized {name}"]
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
        assert configs[f"fp8 {name}"] == configs[f"dequantized {name}"]


def test_the_continuation_of_a_quantized_base_is_that_of_the_dequantized_model(
    tmp_path: Path, calibration_text: Path
) -> None:
    model = save_tiny_model(tmp_path / "model", calibration_text)
    make_fp8(model, "channel")
    spec = ModelSpec(id="tiny", name="tiny", local=model, allow_quantized_base=True)
    facts = read_facts(spec, model, revision="r")
    with tidied(model, tmp_path) as seen:
        found = generate_base(
            seen, tensors=facts.tensors.values(), prompt="The capital of France is", work=tmp_path
        )
    rewrite(model, {name: read_tensor(model, info).clone() for name, info in facts.tensors.items()})
    with tidied(model, tmp_path) as seen:
        assert found == generate_base(seen, prompt="The capital of France is", work=tmp_path)
