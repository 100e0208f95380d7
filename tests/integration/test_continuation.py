"""The greedy continuation of the reload does not depend on how a model's author likes to sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, ProphetNetConfig, ProphetNetForCausalLM

from quantize_lib.evaluate.continuation import continue_prompt
from quantize_lib.files import write_json
from tests.support.small_runs import save_tiny_model

PROMPT = "The capital of France is"
SETTINGS: dict[str, dict[str, Any]] = {
    "stop strings": {"stop_strings": ["</end>"]},
    "several sequences": {"do_sample": True, "num_return_sequences": 2},
    "contrastive search": {"penalty_alpha": 0.6, "top_k": 4},
    "bad words beyond the vocabulary": {"bad_words_ids": [[4000]]},
    "groups of beams": {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5},
    "a static cache": {"cache_implementation": "static"},
    "a quantized cache": {"cache_implementation": "quantized"},
    "a least length": {"min_length": 500},
    "no time": {"max_time": 0.0001},
    "a forced end beyond the vocabulary": {"forced_eos_token_id": 9999},
    "an end beyond the vocabulary": {"eos_token_id": 9999},
    "suppressed tokens": {"suppress_tokens": [4000]},
    "a watermark": {"watermarking_config": {"greenlist_ratio": 0.25, "bias": 2.0}},
    "guidance": {"guidance_scale": 1.5},
    "layers to contrast": {"dola_layers": "low"},
    "lookup in the prompt": {"prompt_lookup_num_tokens": 3},
    "more output": {"output_scores": True, "return_dict_in_generate": True},
    "a penalty of zero": {"repetition_penalty": 0},
    "no n-gram twice": {"no_repeat_ngram_size": 2},
    "a temperature of zero": {"do_sample": True, "temperature": 0.0},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, calibration_text: Path) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("continuation") / "base", calibration_text)


def _said(folder: Path) -> str:
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    return continue_prompt(model, AutoTokenizer.from_pretrained(folder), PROMPT, count=8)


@pytest.fixture(scope="module")
def plain(base: Path) -> str:
    (base / "generation_config.json").unlink(missing_ok=True)
    said = _said(base)
    assert said
    return said


@pytest.mark.parametrize("name", SETTINGS)
def test_it_is_the_same_whatever_generation_config_json_asks_for(base: Path, plain: str, name: str) -> None:
    write_json(base / "generation_config.json", SETTINGS[name])
    assert _said(base) == plain


def test_it_ends_where_the_model_says_that_a_text_ends(base: Path, plain: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    write_json(base / "generation_config.json", {"eos_token_id": list(range(len(tokenizer)))})
    assert len(_said(base)) < len(plain)


def test_a_decoder_whose_config_counts_an_encoders_layers_is_continued(tmp_path: Path, base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    config = ProphetNetConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_encoder_layers=1,
        num_decoder_layers=2,
        num_encoder_attention_heads=2,
        num_decoder_attention_heads=2,
        is_decoder=True,
        is_encoder_decoder=False,
        add_cross_attention=False,
        pad_token_id=0,
        eos_token_id=None,
    )
    ProphetNetForCausalLM(config).save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert continue_prompt(model, tokenizer, PROMPT, count=4)
