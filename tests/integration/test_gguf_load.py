"""GGUF files of every family in transformers: each weight is exactly the one that was meant."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from quantize_lib.files import read_json, write_json
from quantize_lib.gguf_file.families import FAMILIES
from quantize_lib.gguf_file.types import FILE_TYPES
from quantize_lib.methods import settings_of
from tests.support.gguf_families import CASES, load_case, save_case
from tests.support.quantizing import assert_whole_model, quantize
from tests.support.small_runs import command, manifest, save_tiny_model
from tests.support.tiny_sizes import VARIANTS

TYPES = ("Q4_K_M", "Q4_0", "Q5_K_M", "Q6_K", "Q8_0")


def test_every_family_is_tried() -> None:
    assert {VARIANTS.get(name, name) for name, _, _ in CASES.values()} == FAMILIES.keys()


@pytest.mark.parametrize(("case", "kind"), list(zip(CASES, cycle(TYPES), strict=False)))
def test_a_loaded_file_has_the_weights_that_were_meant_and_the_other_tensors_as_they_were(
    case: str, kind: str, tmp_path: Path, calibration_text: Path
) -> None:
    base = save_case(case, tmp_path / "base", calibration_text)
    settings = settings_of("gguf", FILE_TYPES[kind].bits, {"type": kind})
    recording, blocks = quantize(base, tmp_path / "cell", settings)
    file = tmp_path / "cell" / f"tiny-{kind}.gguf"
    assert [path.name for path in file.parent.glob("*.gguf")] == [file.name]
    assert not list(file.parent.glob("*.safetensors"))
    loaded = load_case(file)
    assert_whole_model(loaded, base, recording, blocks, outside=("embed_tokens.weight", "lm_head.weight"))
    # Not only the weights: with them the base model computes the same.
    whole = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    whole.load_state_dict(loaded.state_dict())
    ids = torch.arange(3, 67)[None]
    with torch.inference_mode():
        assert torch.equal(loaded(ids).logits, whole(ids).logits)


def test_a_plan_refuses_a_tokenizer_that_the_file_cannot_hold_and_says_which_rows_do_not_fit(
    tmp_path: Path, calibration_text: Path
) -> None:
    model = save_tiny_model(tmp_path / "tiny", calibration_text)
    manifest(tmp_path, model, calibration_text, [{"method": "gguf", "type": ["Q4_K_M", "Q8_0"]}])
    planned = command("plan", "quantize.yml", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert (
        "tiny-gguf-Q4_K_M: Rows of 128 weights do not fit into the blocks of Q4_K: they are stored as Q5_0, "
        "as llama.cpp does it." in planned.stderr
    )
    assert "tiny-gguf-Q8_0: Rows" not in planned.stderr
    words = read_json(model / "tokenizer.json")
    words["pre_tokenizer"] = {"type": "Whitespace"}
    write_json(model / "tokenizer.json", words)
    refused = command("plan", "quantize.yml", cwd=tmp_path)
    assert refused.returncode == 3
    for cell in ("tiny-gguf-Q4_K_M", "tiny-gguf-Q8_0"):
        assert (
            f"{cell}: the tokenizer cannot be put into a GGUF file: tokenizer.json: llama.cpp does not split "
            "text as it does (Whitespace)" in refused.stderr
        )
