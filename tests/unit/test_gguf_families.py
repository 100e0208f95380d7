"""Which models GGUF files are made of, and which are refused before anything is downloaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.errors import EngineError, SourceError
from quantize_lib.formats import Traits, get_format, resolve_format
from quantize_lib.formats.loading import LoadRequest
from quantize_lib.formats.usage import Usage
from quantize_lib.gguf_file.families import FAMILIES, needs_config, refusal
from quantize_lib.gguf_file.names import names_of, types_of
from quantize_lib.gguf_file.rotary import rotary_tensors
from quantize_lib.gguf_file.types import BLOCKS, ggml_type
from quantize_lib.gguf_file.vocabulary import read_vocabulary, vocabulary_refusal
from quantize_lib.methods import settings_of
from tests.support.gguf_configs import CONFIG, LLAMA_3, LLAMA_3_1, YARN, config_of

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
ADDED = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
BYTES_ALONE = {**BYTE_LEVEL, "use_regex": False}


def split(expression: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}


def sequence(*steps: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(steps)}


def tokenizer(folder: Path, splitting: Any = BYTE_LEVEL, *, normalizer: Any = None, **model: Any) -> Path:
    words = {"a": 0, "b": 1, "ab": 2}
    data = {
        "normalizer": normalizer,
        "pre_tokenizer": splitting,
        "model": {"type": "BPE", "vocab": words, "merges": [["a", "b"]], **model},
        "added_tokens": [
            {"id": 3, "content": "<s>", "special": True, **ADDED},
            {"id": 4, "content": "<tool>", "special": False, **ADDED},
        ],
    }
    (folder / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    return folder


LONG: Mapping[str, Any] = {
    "type": "longrope",
    "original_max_position_embeddings": 32,
    "short_factor": [1.0] * 64,
    "long_factor": [4.0] * 64,
}


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_plain_model_of_each_family_is_made_into_a_file(model_type: str) -> None:
    config = config_of(model_type)
    assert refusal(model_type, config) is None
    assert refusal(model_type, {}) is None
    assert needs_config(config) == (model_type not in {"llama", "mistral", "qwen2", "qwen3"})
    settings = settings_of("gguf", 4, {"type": "Q4_K_M"})
    assert resolve_format(settings, Traits(model_type=model_type, config=config)).name == "gguf"


@pytest.mark.parametrize(("model_type", "words", "reason"), [
    ("bloom", {}, "no GGUF files are made of bloom (docs/how-to/gguf.md says of which"),
    ("llama", {"rope_parameters": {"rope_type": "longrope"}}, "scale rotary embeddings so for this"),
    ("llama", {"rope_parameters": {"rope_type": "llama3", "factor": 8}}, "does not say the low_freq_factor"),
    ("llama", {"rope_parameters": {**LLAMA_3_1, "factor": "8"}}, "does not say the factor"),
    ("llama", {"rope_parameters": {**LLAMA_3_1, "high_freq_factor": 1.0}}, "not above the low_freq_factor"),
    ("qwen2", {"rope_parameters": LLAMA_3_1}, "rope_type llama3"),
    ("qwen2", {"rope_scaling": {"type": "yarn", "factor": 4}}, "say the original_max_position_embeddings"),
    ("qwen2", {"rope_scaling": {**YARN, "attention_factor": 2}}, "takes 1.139 for the attention_factor"),
    ("qwen2", {"rope_scaling": {**YARN, "beta_fast": "x"}}, "the beta_fast of its rotary embedding is no"),
    ("qwen2", {"rope_scaling": {**YARN, "mscale": 1, "mscale_all_dim": 2}}, "does not take mscale"),
    ("qwen2", {"rope_scaling": {**YARN, "truncate": False}}, "truncate: false"),
    ("qwen2", {"head_dim": 64}, "takes hidden_size for the width of all heads, and one has 64 here"),
    ("phi3", {"rope_scaling": {**LONG, "long_factor": [1.0] * 3}}, "the long_factor of its rotary embedding"),
    ("phi3", {"rope_scaling": {**LONG, "original_max_position_embeddings": 1}}, "is not above one"),
    ("phi3", {"rope_scaling": {**LONG, "attention_factor": "x"}}, "the attention_factor of its"),
    ("phi3", {"rope_scaling": {"partial_rotary_factor": "x"}}, "the partial_rotary_factor of its rotary"),
    ("llama", {"rope_theta": "x"}, "the rope_theta of its rotary embedding is no number"),
    ("llama", {"rope_parameters": {"partial_rotary_factor": 0.5}}, "turns all of each head"),
    ("olmo3", {"rope_parameters": {"full_attention": YARN, "sliding_attention": [1]}}, "which blocks"),
    ("phi3", {"sliding_window": 64}, "no sliding window (of 64 tokens here)"),
    ("qwen3_moe", {"norm_topk_prob": None}, "norm_topk_prob, which is None here"),
    ("qwen3_moe", {"mlp_only_layers": [0]}, "mlp_only_layers"),
    ("qwen2_moe", {"shared_expert_intermediate_size": None}, "does not say shared_expert_intermediate_size"),
    ("olmoe", {"clip_qkv": 8.0}, "clip_qkv"),
    ("olmoe", {"num_key_value_heads": 1}, "as many heads for keys and values as for queries"),
    ("qwen3_moe", {"num_experts": None}, "does not say the number of experts"),
    ("olmo2", {"tie_word_embeddings": True}, "tie_word_embeddings, which is True here"),
    ("olmo3", {"layer_types": ["full_attention"]}, "for each block whether it has an attention window"),
    ("olmo3", {"layer_types": ["chunked_attention"] * 2}, "(layer_types)"),
    ("olmo3", {"rope_parameters": YARN}, "do not say which blocks they are for"),
    (
        "olmo3",
        {"rope_parameters": {"full_attention": YARN, "sliding_attention": {"rope_theta": 5e5}}},
        "turns by one base everywhere",
    ),
    ("smollm3", {"no_rope_layers": [0, 0]}, "leaves out the rotary embedding in every 4th block"),
    ("exaone4", {"num_hidden_layers": 64}, "has attention windows in models of this type with 64 layers"),
    ("cohere2", {"sliding_window_pattern": 2}, "the last of every 4 layers of this model type"),
    ("granite", {"logits_scaling": None}, "does not say logits_scaling"),
    ("mistral", {"rope_scaling": {"type": "linear", "factor": 4}}, "rope_type linear"),
    ("llama", {"attention_bias": True}, "such a file does not say attention_bias, which is True here"),
    ("llama", {"hidden_act": "gelu"}, "hidden_act"),
    ("mistral", {"sliding_window": 64}, "no sliding window (of 64 tokens here)"),
    ("qwen2", {"use_sliding_window": True}, "use_sliding_window"),
    ("llama", {"rms_norm_eps": None}, "does not say rms_norm_eps"),
    ("gemma2", {"layer_types": ["full_attention"] * 2}, "the last of every 2 layers of this model type"),
    ("gemma2", {"query_pre_attn_scalar": 256}, "not by query_pre_attn_scalar (256 here)"),
    ("gemma2", {"final_logit_softcapping": None}, "does not leave final_logit_softcapping open"),
    ("gemma2", {"hidden_activation": "gelu"}, "hidden_activation"),
    ("gemma2", {"tie_word_embeddings": False}, "tie_word_embeddings, which is False here"),
    ("gemma2", {"sliding_window": None}, "does not say sliding_window or head_dim"),
    ("gemma3_text", {"attn_logit_softcapping": 50.0}, "does not leave attn_logit_softcapping open"),
    ("gemma3_text", {"sliding_window_pattern": 2}, "the last of every 6 layers of this model type"),
    ("gemma3_text", {"rope_local_base_freq": 1e6}, "takes 10000 for the base of rotary embeddings"),
    ("gemma3_text", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    (
        "gemma3_text",
        {"rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 2.0}}},
        "base of rotary embeddings in a window",
    ),
])  # fmt: skip
def test_a_model_that_transformers_or_llama_cpp_would_read_wrong_is_refused_with_the_reason(
    model_type: str, words: dict[str, Any], reason: str
) -> None:
    traits = Traits(model_type=model_type, config=config_of(model_type, **words))
    with pytest.raises(SourceError) as caught:
        resolve_format(settings_of("gguf", 8, {"type": "Q8_0"}), traits)
    assert reason in caught.value.message
    assert caught.value.hint == "Take another method."


@pytest.mark.parametrize(("model_type", "words"), [
    ("llama", {"rope_parameters": LLAMA_3_1}),
    ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}),
    ("qwen3", {"head_dim": 64}),
    ("qwen2", {"rope_scaling": YARN}),
    ("phi3", {"rope_scaling": LONG}),
    ("gemma2", {"num_hidden_layers": 46, "layer_types": None, "head_dim": 64}),
])  # fmt: skip
def test_what_a_file_does_not_say_is_read_from_the_config_beside_it(
    model_type: str, words: dict[str, Any]
) -> None:
    config = {key: value for key, value in config_of(model_type, **words).items() if value is not None}
    assert refusal(model_type, config) is None
    assert needs_config(config)
    use = Usage(
        repository="acme/m-gguf",
        part="Q8_0",
        prompt="x",
        settings=settings_of("gguf", 8, {"type": "Q8_0"}),
        bits=8,
        symmetric=True,
        group_size=None,
        versions={},
        traits=Traits(model_type=model_type, config=config),
        model="m",
    )
    code = get_format("gguf").usage(use)["python"]
    assert 'config = AutoConfig.from_pretrained(model_id, subfolder="Q8_0")\n' in code
    assert 'from_pretrained(model_id, gguf_file="m-Q8_0.gguf", config=config, device_map="auto")' in code
    compile(code, "card", "exec")


def test_a_card_of_a_family_that_transformers_does_not_read_has_code_for_llama_cpp_alone() -> None:
    chosen, settings = get_format("gguf"), settings_of("gguf", 4, {"type": "Q4_0"})
    traits = Traits(model_type="olmoe", config=config_of("olmoe"))
    use = Usage(
        repository="acme/m-gguf",
        part="Q4_0",
        prompt='say "x"',
        settings=settings,
        bits=4,
        symmetric=True,
        group_size=None,
        versions={},
        traits=traits,
        model="m",
    )
    found = chosen.usage(use)
    assert (chosen.library("olmoe"), chosen.library("llama")) == ("llama-cpp-python", "transformers")
    assert found["loader"] == "llama-cpp-python, not run here"
    assert "transformers" not in found["install"] + found["python"]
    assert 'Llama.from_pretrained(repo_id="acme/m-gguf", filename="m-Q4_0.gguf")' in found["python"]
    compile(found["python"], "card", "exec")
    local = chosen.usage(replace(use, repository="m-gguf"))["python"]
    assert 'Llama(model_path="m-Q4_0.gguf")' in local
    assert "transformers does not read GGUF files of olmoe" in " ".join(chosen.cautions(settings, traits))
    assert chosen.cautions(settings, replace(traits, model_type="llama")) == ()


def test_a_card_says_for_how_long_a_context_llama_cpp_turns_short_texts_as_transformers_does() -> None:
    traits = Traits(model_type="phi3", config=config_of("phi3", rope_scaling=LONG))
    (said,) = get_format("gguf").cautions(settings_of("gguf", 8, {"type": "Q8_0"}), traits)
    assert "Where its context is set to more than 32 tokens" in said


def test_the_language_model_in_a_larger_one_is_refused() -> None:
    traits = Traits(model_type="llama", config=config_of("llama"), part=True)
    assert (
        get_format("gguf").refuses(traits) == "no GGUF files are made of the language model in a larger one"
    )


def test_the_frequencies_of_llama_3_1_are_divided_as_transformers_does_it() -> None:
    import torch
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = config_of("llama", rope_parameters=LLAMA_3_1)
    divided = rotary_tensors(config, 128, 1e4)["rope_freqs.weight"]
    plain = 1 / 5e5 ** (torch.arange(0, 128, 2, dtype=torch.float64) / 128)
    scaled, attention = ROPE_INIT_FUNCTIONS["llama3"](LlamaConfig(**config), torch.device("cpu"))
    assert attention == 1
    torch.testing.assert_close(
        plain / torch.tensor(divided, dtype=torch.float64), scaled.double(), rtol=1e-6, atol=0
    )
    assert {divided[0], divided[-1]} == {1.0, 8.0}
    assert rotary_tensors(CONFIG, 128, 1e4) == {}


def test_a_window_that_no_text_reaches_is_no_reason() -> None:
    assert refusal("mistral", {**CONFIG, "sliding_window": 128}) is None


def test_tensors_get_llama_cpps_names_and_all_matrices_but_those_kept_a_type() -> None:
    shapes = {
        "model.embed_tokens.weight": (300, 256),
        "model.layers.0.self_attn.v_proj.weight": (256, 256),
        "model.layers.1.mlp.down_proj.weight": (256, 512),
        "model.layers.1.input_layernorm.weight": (256,),
        "lm_head.weight": (300, 256),
    }
    assert list(names_of(CONFIG, shapes).values()) == [
        *("token_embd.weight", "blk.0.attn_v.weight", "blk.1.ffn_down.weight", "blk.1.attn_norm.weight"),
        "output.weight",
    ]
    kept = ["model.layers.0.self_attn.v_proj.weight"]
    assert types_of(CONFIG, shapes, kept, "Q4_K_M") == {
        "model.embed_tokens.weight": "Q4_K",
        "model.layers.1.mlp.down_proj.weight": "Q6_K",
        "lm_head.weight": "Q6_K",
    }
    with pytest.raises(SourceError, match=r"model\.extra has no name"):
        names_of(CONFIG, ["model.extra"])


def test_sizes_of_blocks_are_those_of_the_package_gguf() -> None:
    from gguf import GGML_QUANT_SIZES

    assert {name: GGML_QUANT_SIZES[ggml_type(name)] for name in BLOCKS} == BLOCKS


@pytest.mark.parametrize(("splitting", "more", "name"), [
    (BYTE_LEVEL, {}, "gpt-2"),
    (sequence({"type": "Digits", "individual_digits": True}, BYTE_LEVEL), {}, "smollm"),
    (sequence(split(LLAMA_3), BYTES_ALONE), {"ignore_merges": True}, "llama-bpe"),
    (sequence(split(LLAMA_3), BYTES_ALONE), {}, "dbrx"),
    (sequence({**split(LLAMA_3), "behavior": "Removed", "invert": True}, BYTES_ALONE), {}, "dbrx"),
    (sequence(split(LLAMA_3.replace("{1,3}", "")), BYTES_ALONE), {"normalizer": {"type": "NFC"}}, "qwen2"),
])  # fmt: skip
def test_how_a_tokenizer_splits_text_is_said_by_llama_cpps_name(
    splitting: Any, more: dict[str, Any], name: str, tmp_path: Path
) -> None:
    found = read_vocabulary(tokenizer(tmp_path, splitting, **more), 6)
    assert found.splitting == name
    assert found.tokens == ("a", "b", "ab", "<s>", "<tool>", "[PAD5]")
    # Normal, control, user-defined, unused.
    assert found.kinds == (1, 1, 1, 3, 4, 5)
    assert vocabulary_refusal(tmp_path) is None


@pytest.mark.parametrize(("splitting", "more", "reason"), [
    ({"type": "Metaspace"}, {}, "does not split text as it does (Metaspace)"),
    (None, {}, "(not at all)"),
    ({**BYTE_LEVEL, "add_prefix_space": True}, {}, "(ByteLevel)"),
    (sequence(split("x"), BYTES_ALONE), {}, "(Split, ByteLevel)"),
    (sequence(split("x"), BYTES_ALONE), {"ignore_merges": True}, "(Split, ByteLevel)"),
    (sequence({**split(LLAMA_3), "behavior": "Removed"}, BYTES_ALONE), {}, "(Split, ByteLevel)"),
    (BYTE_LEVEL, {"ignore_merges": True}, "(ByteLevel)"),
    (BYTE_LEVEL, {"normalizer": {"type": "Lowercase"}}, "does not change text as it does (Lowercase)"),
    (BYTE_LEVEL, {"type": "Unigram"}, "its model is 'Unigram'"),
])  # fmt: skip
def test_a_tokenizer_that_llama_cpp_would_not_follow_is_refused(
    splitting: Any, more: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    refused = get_format("gguf").refuses_files(tokenizer(tmp_path, splitting, **more))
    assert refused is not None
    assert reason in refused


def test_a_folder_without_tokenizer_json_or_with_another_file_there_is_refused(tmp_path: Path) -> None:
    assert "there is no such file" in str(vocabulary_refusal(tmp_path))
    (tmp_path / "tokenizer.json").write_text("[", encoding="utf-8")
    assert "it cannot be read" in str(vocabulary_refusal(tmp_path))
    (tmp_path / "tokenizer.json").write_text("[]", encoding="utf-8")
    assert "it is no tokenizer" in str(vocabulary_refusal(tmp_path))


def test_the_worker_tries_the_whole_vocabulary_with_what_the_tokenizer_puts_around_a_text(
    tmp_path: Path,
) -> None:
    folder = tokenizer(tmp_path)
    (folder / "tokenizer_config.json").write_text('{"bos_token": "<s>"}', encoding="utf-8")
    assert vocabulary_refusal(folder, 6) is None
    assert "a token 4, and the embedding 4 rows" in str(vocabulary_refusal(folder, 4))
    data = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    sequence, tool = {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<tool>", "type_id": 0}}
    words = {"id": "<tool>", "ids": [4], "tokens": ["<tool>"]}
    for single, refused in (
        ([{**tool}, sequence], True),
        ([{"SpecialToken": {"id": "<s>", "type_id": 0}}, sequence], False),
    ):
        special = words if refused else {"id": "<s>", "ids": [3], "tokens": ["<s>"]}
        data["post_processor"] = {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {special["id"]: special},
        }
        (folder / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
        reason = vocabulary_refusal(folder, 6)
        assert (reason is not None) == refused, reason
        assert not refused or "it puts the tokens [4] before a text" in str(reason)


def test_a_checkpoint_that_names_a_file_elsewhere_is_not_loaded(tmp_path: Path) -> None:
    request = LoadRequest(folder=str(tmp_path), dtype="auto", device="cpu", trust_remote_code=False)
    with pytest.raises(ValueError, match="no file of the folder"):
        get_format("gguf").load(request, {"gguf_file": "../other/x.gguf"})


def test_more_tokens_than_the_embedding_has_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="a token 4, and the embedding 4 rows"):
        read_vocabulary(tokenizer(tmp_path), 4)
