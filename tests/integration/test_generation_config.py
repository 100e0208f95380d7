"""A generation_config.json that transformers cannot load is found before anything is computed, by its key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import GenerationConfig

from quantize_lib.errors import SourceError
from quantize_lib.generation_config import NAME, check_generation_config
from tests.support.small_runs import FASTEST, command, manifest, save_tiny_model

UNLOADABLE: dict[str, Any] = {
    "early_stopping": "yes",
    "max_new_tokens": 0,
    "pad_token_id": "0",
    "compile_config": {"mode": "reduce-overhead"},
    "cache_implementation": "nothing like it",
    "assistant_ensemble_weight": 2.0,
    "logits_processor": [],
    "watermarking_config": {"greenlist_ratio": 7.0},
}


@pytest.mark.parametrize("key", UNLOADABLE)
def test_the_key_is_named_with_which_transformers_loads_no_model(tmp_path: Path, key: str) -> None:
    (tmp_path / NAME).write_text(json.dumps({"do_sample": True, key: UNLOADABLE[key], "eos_token_id": 0}))
    with pytest.raises((TypeError, ValueError)):
        GenerationConfig.from_pretrained(tmp_path)
    with pytest.raises(SourceError) as caught:
        check_generation_config(tmp_path)
    assert caught.value.message.startswith(f"{NAME} says `{key}`: ")


@pytest.mark.parametrize("text", ["[1, 2]", "3", "null"])
def test_what_is_no_object_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(SourceError, match="holds no JSON object"):
        check_generation_config(tmp_path)


def test_values_that_do_not_go_together_are_told_as_such(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(json.dumps({"suppress_tokens": [1], "forced_eos_token_id": 1}))
    with pytest.raises(SourceError, match="values that do not go together"):
        check_generation_config(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "not JSON", "\ufeff{}", "{}", '{"stop_strings": ["</end>"], "max_length": 5}']
)
def test_what_transformers_passes_over_or_loads_is_taken(tmp_path: Path, text: str) -> None:
    check_generation_config(tmp_path)
    (tmp_path / NAME).write_text(text, encoding="utf-8")
    check_generation_config(tmp_path)


def test_plan_and_run_refuse_it_before_anything_is_computed(tmp_path: Path, calibration_text: Path) -> None:
    model = save_tiny_model(tmp_path / "tiny", calibration_text)
    (model / NAME).write_text(json.dumps({"eos_token_id": 2, "early_stopping": "yes"}))
    manifest(tmp_path, model, calibration_text, FASTEST)
    for verb in ("plan", "run"):
        done = command(verb, "quantize.yml", cwd=tmp_path)
        assert done.returncode == 3, done.stderr
        assert f"{NAME} says `early_stopping`: `yes`" in done.stderr
    assert not list((tmp_path / "output").glob("*/*.safetensors"))
