"""The page of benchmarks says what was measured, and comparisons read each checkpoint as it was meant."""

from __future__ import annotations

import json
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.checkpoints import fill
from benchmarks.memory_model import Shape, make_model
from benchmarks.passes import in_float32
from benchmarks.tables import BEGIN, END, put, render
from quantize_lib.engine import precision
from quantize_lib.packing.gemm import pack_gemm
from quantize_lib.packing.integers import pack_stream
from quantize_lib.packing.words import pack_gptq

ROOT = Path(__file__).resolve().parents[2]


def test_the_pass_in_float32_is_in_float32_on_a_cpu_with_units_for_bfloat16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precision, "_has_bfloat16_units", lambda: True)
    found = []
    for inside in (nullcontext, in_float32):
        with inside(), precision.calibrating(torch.device("cpu")):
            found.append(precision.factor_dtype(torch.device("cpu")))
    assert found == [torch.bfloat16, torch.float32]


def _text(perplexity: float, divergence: float) -> dict[str, float]:
    return {"perplexity": perplexity, "kl_divergence": divergence, "tokens": 512}


def _compare(bits: int, ours: float) -> dict[str, Any]:
    def row(perplexity: float, **more: Any) -> dict[str, Any]:
        return {"held-out.jsonl": _text(perplexity, 0.1), **more}

    return {
        "bits": bits,
        "group_size": 64,
        "calibration": [64, 512],
        "texts": {"held-out.jsonl": "0" * 64},
        "rows": {
            "base": row(30.0),
            f"Model Quantizer, {bits} bits": row(ours),
            "Model Quantizer, 8 bits": row(30.3),
            f"GPTQModel in float32, {bits} bits": row(40.0, seconds=400.0, settings={"dtype": "float32"}),
            f"GPTQModel in bfloat16, {bits} bits": row(42.0, seconds=200.0, settings={"dtype": "bfloat16"}),
        },
    }


def _peers(bits: int, **divergence: float) -> dict[str, Any]:
    """A comparison with other libraries: KL divergence by row, on a text and on the one that was tuned by."""
    names = {
        "ours": f"Model Quantizer, {bits} bits",
        "best": f"Model Quantizer, {bits} bits, effort best",
        "awq": f"Model Quantizer, AWQ, {bits} bits",
        "gptqmodel": f"GPTQModel in float32, {bits} bits",
        "light": f"AutoRound, 50 iterations, {bits} bits",
        "default": f"AutoRound, 200 iterations, {bits} bits",
        "eight": "Model Quantizer, 8 bits",
    }
    rows: dict[str, Any] = {"base": {text: _text(30.0, 0.0) for text in ("held-out.jsonl", "reviews.jsonl")}}
    for key, value in divergence.items():
        figures = {"held-out.jsonl": _text(40.0, value), "reviews.jsonl": _text(90.0, 9.0)}
        rows[names[key]] = {**figures, "settings": {"dtype": "float32"}}
    return {
        "bits": bits,
        "blocks": 8,
        "group_size": 64,
        "calibration": [64, 512],
        "texts": dict.fromkeys(rows["base"], "0" * 64),
        "machine": {"processor": "Another", "cores": 2, "memory_bytes": 8e9},
        "versions": {"torch": "2.13.0"},
        "rows": rows,
    }


def _pass(seconds: float, **cells: float) -> dict[str, Any]:
    names = {name.replace("_", "-"): value for name, value in cells.items()}
    return {"seconds": seconds, "cells": names, "phases": {"forward": seconds}}


_RESULTS: dict[str, Any] = {
    "machine": {
        "processor": "A Processor",
        "cores": 2,
        "memory_bytes": 16e9,
        "avx512": True,
        "amx_bfloat16": False,
    },
    "versions": {"torch": "2.13.0"},
    "stages": {
        name: {"started": "2026-01-01 00:00", "load": 0.0, "commit": "abc", "seconds": 60, "result": result}
        for name, result in {
            "startup": {
                "runs": 10,
                "commands": {"plan": {"median": 0.41, "fastest": 0.1, "slowest": 0.5}},
            },
            "gptq4": _compare(4, 34.0),
            "speed": {
                "blocks": 30,
                "tokens": [64, 512],
                "threads": 2,
                "arithmetic": "bfloat16",
                "gflops": {"float32": 300, "bfloat16": 1200},
                "limit_seconds": {"float32": 40.0, "bfloat16": 10.0},
                "passes": {
                    "one cell, bfloat16": _pass(80.0, gptq_4bit=10.0),
                    "with GPTQ 2, bfloat16": _pass(87.0, gptq_4bit=10.0, gptq_2bit=9.0),
                    "with AWQ 4, bfloat16": _pass(100.0, gptq_4bit=10.0, awq_4bit=25.0),
                    "with bitsandbytes 4, bfloat16": _pass(86.0, gptq_4bit=10.0, bitsandbytes_4bit=8.0),
                    "six cells, bfloat16": _pass(150.0, gptq_4bit=10.0, awq_4bit=20.0, bitsandbytes_4bit=6.0),
                    "one cell, effort fast, bfloat16": _pass(60.0, gptq_4bit=10.0),
                    "one cell, effort fast, float32": _pass(50.0, gptq_4bit=10.0),
                },
            },
            "gptq3": _compare(3, 41.0),
            "awq": {
                "blocks": 3,
                "group_size": 64,
                "calibration": [16, 512],
                "texts": {"held-out.jsonl": "0" * 64},
                "rows": {
                    "Model Quantizer": {"held-out.jsonl": {"relative_error": 0.004, "kl_divergence": 0.03}},
                    "GPTQModel, symmetric": {
                        "seconds": 60.0,
                        "settings": {"sym": True},
                        "held-out.jsonl": {"relative_error": 0.005, "kl_divergence": 0.02},
                    },
                },
            },
            "memory": {
                "growth_bytes": -2e6,
                "block_bytes": 50e6,
                "runs": {"7B shape, GPTQ 4, 32 × 512": {"peak_bytes": 5e9, "estimate_bytes": 6e9}},
                "bounded": {"limit_bytes": 2e9, "peak_bytes": 1.9e9},
            },
            "peers4": _peers(
                4, ours=0.03, best=0.024, awq=0.02, gptqmodel=0.05, light=0.031, default=0.025, eight=0.0
            ),
            "peers3": _peers(3, ours=0.10, best=0.09, gptqmodel=0.20, light=0.12, default=0.08, eight=0.0),
        }.items()
    },
}


def _targets(results: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """What was measured and whether it is met, by target."""
    section = render(results).partition("## Targets\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")][2:]
    return {row[0]: (row[2], row[3]) for row in rows}


def test_the_document_says_what_was_measured_and_nothing_else() -> None:
    results = json.loads((ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8"))
    document = (ROOT / "docs" / "explanation" / "benchmarks.md").read_text(encoding="utf-8")
    assert put(document, results) == document, "run python -m benchmarks.engine, change no figure by hand"


def test_each_target_stands_beside_its_figure_and_whether_it_is_met() -> None:
    peers = "GPTQModel's time for one in float32; in bfloat16"
    assert _targets(_RESULTS) == {
        "one GPTQ 4 cell, effort `fast`, with products in bfloat16 ÷ the bfloat16 limit": (
            "6.00 ×",
            "**no**",
        ),
        "one GPTQ 4 cell, effort `fast`, with products in float32 ÷ the float32 limit": ("1.25 ×", "yes"),
        "one GPTQ 4 cell, faster than GPTQModel in float32; in bfloat16": ("5.00 ×; 2.50 ×", "yes; **no**"),
        f"six cells ÷ {peers}": ("37.5 %; 75.0 %", "yes; **no**"),
        "a further cell, GPTQ 2 ÷ the pass with one": ("8.8 %", "yes"),
        "a further cell, AWQ 4 ÷ the pass with one": ("25.0 %", "**no**"),
        "a further cell, bitsandbytes 4 ÷ the pass with one": ("7.5 %", "yes"),
        "GPTQ 4, increase of perplexity ÷ GPTQModel's, mean of the texts": ("0.40", "**no**"),
        "GPTQ 4, increase of perplexity ÷ GPTQModel's, worst text": ("0.40", "yes"),
        "GPTQ 8, distance of perplexity from the base, worst text": ("1.00 %", "**no**"),
        "GPTQ 3, increase of perplexity ÷ GPTQModel's, worst text": ("1.10", "**no**"),
        "GPTQ 4, effort `standard`, KL ÷ that of AutoRound's default, mean of the texts": ("1.20", "**no**"),
        "GPTQ 4, effort `best`, KL ÷ that of AutoRound's default, mean of the texts": ("0.96", "yes"),
        "GPTQ 4, KL of effort `best` ÷ that of `standard`": ("0.80", "yes"),
        "GPTQ 3, KL below GPTQModel's ÷ that of AutoRound's light setting, mean of the texts": (
            "1.25",
            "yes",
        ),
        "AWQ 4, output error ÷ the better of GPTQModel's, worst text": ("0.80", "yes"),
        "AWQ 4, KL ÷ the better of GPTQModel's, worst text": ("1.50", "**no**"),
        "memory from 4 to 32 blocks, growth ÷ one block": ("4.0 %", "yes"),
        "memory, estimate ÷ measurement: 7B shape, GPTQ 4, 32 × 512": ("1.20", "**no**"),
        "memory, peak: 7B shape, GPTQ 4, 32 × 512": ("4.66 GiB", "yes"),
        "memory, peak of the five cells with `--max-memory`": ("1.90 GB", "yes"),
        "start of `--help`, `validate`, `plan`, the slowest": ("0.41 s", "**no**"),
    }


def test_the_machine_the_versions_and_the_date_are_written() -> None:
    text = render(_RESULTS)
    assert "A Processor, 2 cores, with AVX-512, without AMX bfloat16 units, 16.00 GB of memory" in text
    assert "torch 2.13.0" in text
    assert "| `speed` | 2026-01-01 00:00 | 1.0 | 0.0 | `abc` |" in text


def test_the_same_figures_stand_in_the_tables() -> None:
    text = render(_RESULTS)
    assert "| one cell, bfloat16 | 80.0 | 2.00 × | 8.00 × | 5.00 × | 2.50 × |" in text
    assert "| GPTQ 2 | 7.0 | 9.0 | 1.8 % | 3.5 % |" in text
    assert "| **Model Quantizer, 4 bits** | 34.00 | 0.40 | 0.1000 |" in text
    assert "| GPTQModel in bfloat16, 4 bits | 42.00 | – | 0.1000 |" in text
    assert "| **Model Quantizer** | 0.00400 | 0.03000 | – |" in text
    assert "| **Model Quantizer, AWQ, 4 bits** | 40.00 | 0.0200 | 90.00 | 9.0000 |" in text
    assert "| AutoRound, 50 iterations, 3 bits | 40.00 | 0.1200 | 90.00 | 9.0000 |" in text
    assert "| 7B shape, GPTQ 4, 32 × 512 | 5.00 GB | 6.00 GB |" in text


@pytest.mark.parametrize("name", _RESULTS["stages"])
def test_a_stage_alone_is_rendered_without_the_others(name: str) -> None:
    results = deepcopy(_RESULTS)
    results["stages"] = {name: results["stages"][name]}
    text = render(results)
    assert text.count("\n## ") == 2
    assert _targets(results)


def test_only_the_generated_part_of_a_document_changes() -> None:
    assert put(f"before\n{BEGIN}\nold\n{END}\nafter\n", {"stages": {}}) == (
        f"before\n{BEGIN}\n\nNothing was measured yet.\n\n{END}\nafter\n"
    )


def test_a_document_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="no part between"):
        put("before\n", {"stages": {}})


def _tiny() -> LlamaForCausalLM:
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = LlamaConfig(**cast(Any, sizes), num_hidden_layers=1, vocab_size=16, tie_word_embeddings=True)
    torch.manual_seed(0)
    return cast(LlamaForCausalLM, LlamaForCausalLM(config).float())


_KINDS = [("gptq", 3), ("gptq", 4), ("gptq", 8), ("gemm", 4), ("pack-quantized", 3), ("pack-quantized", 4)]


@pytest.mark.parametrize(("format_name", "bits"), _KINDS)
def test_a_checkpoint_is_dequantized_to_the_weights_that_were_meant(
    format_name: str, bits: int, tmp_path: Path
) -> None:
    tensors: dict[str, torch.Tensor] = {}
    meant: dict[str, torch.Tensor] = {}
    generator = torch.Generator().manual_seed(1)
    for name, value in _tiny().named_parameters():
        if not name.endswith("_proj.weight"):
            meant[name] = tensors[name] = value.detach() * 1.5
            continue
        rows, columns = value.shape
        groups = columns // 16
        codes = torch.randint(0, 2**bits, (rows, columns), generator=generator, dtype=torch.uint8)
        zeros = torch.randint(1, 2**bits, (rows, groups), generator=generator, dtype=torch.uint8)
        scales = torch.rand(rows, groups, generator=generator).half()
        layer = name.removesuffix(".weight")
        if format_name == "pack-quantized":
            zeros.fill_(2 ** (bits - 1))
            packed = {
                "weight_packed": pack_stream(codes, bits),
                "weight_scale": scales,
                "weight_shape": torch.tensor(value.shape),
            }
        elif format_name == "gemm":
            packed = pack_gemm(codes, zeros, scales)
        else:
            packed = pack_gptq(codes, zeros, scales, bits=bits, g_idx=None)
        tensors.update({f"{layer}.{part}": tensor for part, tensor in packed.items()})
        spread = zeros.float().repeat_interleave(16, 1), scales.float().repeat_interleave(16, 1)
        meant[name] = (codes.float() - spread[0]) * spread[1]
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    groups_of = {"group_0": {"weights": {"num_bits": bits, "symmetric": True}}}
    config = {"quantization_config": {"format": format_name, "bits": bits, "config_groups": groups_of}}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model = _tiny()
    fill(model, tmp_path)
    for name, value in model.named_parameters():
        assert torch.equal(value, meant[name]), name


def test_a_checkpoint_that_lacks_a_weight_is_not_measured(tmp_path: Path) -> None:
    save_file({"model.norm.weight": torch.ones(64)}, tmp_path / "model.safetensors")
    config = {"quantization_config": {"format": "gptq", "bits": 4}}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"has nothing for .*q_proj\.weight"):
        fill(_tiny(), tmp_path)


def test_a_shape_with_fewer_key_value_heads_is_a_model_that_loads(tmp_path: Path) -> None:
    shape = Shape(hidden=64, mlp=96, heads=4, key_value_heads=2, blocks=1, vocabulary=300)
    model: Any = LlamaForCausalLM.from_pretrained(make_model(tmp_path / "model", shape))
    assert sum(value.numel() for value in model.model.layers[0].parameters()) == shape.block_values
    assert model.model.layers[0].self_attn.k_proj.weight.shape == (32, 64)
