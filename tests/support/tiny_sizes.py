"""Which sizes the configs of tiny models get, and what single types need beyond; data of `tiny_models`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Words = Mapping[str, Any]
"""Arguments of a config class."""

SMALL: Mapping[int, str] = {
    128: "hidden_size d_model n_embd emb_dim embedding_size embedding_dim word_embed_proj_dim "
    "input_embedding_size output_embedding_size lru_width attention_hidden_size backbone_hidden_size "
    "hidden_size_global",
    192: "intermediate_size ffn_dim n_inner dff dim_ff d_inner decoder_ffn_dim encoder_ffn_dim "
    "ffn_hidden_size feed_forward_size intermediate_size_mlp dense_intermediate_size "
    "prefix_dense_intermediate_size",
    256: "mamba_d_ssm",
    64: "moe_intermediate_size expert_ffn_hidden_size shared_expert_intermediate_size "
    "shared_intermediate_size moe_shared_expert_intermediate_size shared_experts_intermediate_size "
    "q_lora_rank kv_lora_rank o_lora_rank qk_head_dim mamba_d_head hidden_size_per_layer_input "
    "mamba_head_dim router_hidden_size",
    32: "head_dim d_head dim_head kv_channels attention_head_size qk_nope_head_dim qk_rope_head_dim "
    "v_head_dim index_head_dim linear_key_head_dim linear_value_head_dim linear_head_dim swa_head_dim "
    "query_pre_attn_scalar",
    16: "sliding_window window_size attention_window_size local_attention sliding_window_size "
    "attention_chunk_size mamba_d_state state_size ssm_state_size chunk_size mamba_chunk_size rotary_dim "
    "laurel_rank d_rel block_size index_block_size rel_extent",
    8: "index_topk",
    4: "num_hidden_layers n_layer n_layers num_layers num_blocks decoder_layers num_decoder_layers "
    "num_attention_heads n_head n_heads num_heads attention_heads decoder_attention_heads "
    "encoder_attention_heads num_decoder_attention_heads num_encoder_attention_heads num_experts "
    "num_local_experts n_routed_experts moe_num_experts linear_num_value_heads linear_num_heads "
    "mamba_n_heads mamba_num_heads n_mamba_heads swa_num_attention_heads index_n_heads",
    2: "num_key_value_heads num_kv_heads kv_n_heads num_experts_per_tok moe_topk moe_top_k moe_k "
    "top_k_experts linear_num_key_heads swa_num_key_value_heads encoder_layers num_encoder_layers",
    1: "n_shared_experts num_shared_experts moe_num_shared_experts n_group topk_group n_groups "
    "mamba_n_groups mamba_ngroups first_k_dense_replace num_dense_layers num_mtp_layers",
    0: "num_nextn_predict_layers",
    512: "vocab_size audio_vocab_size decoder_vocab_size vocab_size_per_layer_input "
    "max_position_embeddings n_positions max_seq_len n_ctx max_target_positions max_source_positions "
    "context_length original_max_position_embeddings",
}
"""A size → the config keys that get it, wherever a config class has them."""

SMALL_PARTS: Mapping[int, str] = {
    64: "hidden_size d_model embed_dim",
    128: "intermediate_size encoder_ffn_dim mlp_dim out_hidden_size",
    2: "num_hidden_layers depth encoder_layers num_global_layers num_layers num_attention_heads num_heads "
    "encoder_attention_heads attention_heads num_key_value_heads",
    32: "head_dim",
    28: "image_size",
    14: "patch_size",
}
"""The same in the configs of vision and audio parts, where it is another."""
NOT_IN_PARTS = ("is_decoder", "window_size")

TOKENS: Mapping[str, int] = {
    "pad_token_id": 0,
    "pad_index": 0,
    "bos_token_id": 1,
    "bos_index": 1,
    "cls_token_id": 1,
    "decoder_start_token_id": 1,
    "eod_token_id": 2,
    "eos_token_id": 2,
    "eos_index": 2,
    "sep_token_id": 2,
    "unk_token_id": 3,
}

VISION = (
    *("gemma3", "gemma4", "glm4v", "idefics3", "internvl", "llama4", "llava", "mistral3"),
    *("qwen2_5_vl", "qwen3_5", "qwen3_vl", "qwen3_vl_moe", "smolvlm"),
)
"""Common vision-language types, which are not among the causal ones or are more than those."""

VARIANTS: Mapping[str, str] = {
    "deepseek_v2-lite": "deepseek_v2",
    "falcon-new": "falcon",
    "gemma4_text-ple": "gemma4_text",
    "gpt_bigcode-mha": "gpt_bigcode",
    "llama-tied": "llama",
    "opt-350m": "opt",
    "pixtral": "llava",
    "qwen2_moe-all": "qwen2_moe",
}
"""Another form of a type that is common among real checkpoints → the type."""

NOT_BUILT: Mapping[str, str] = {
    "gemma3n": "its vision tower needs the package timm (gemma3n_text has the same text model)",
    "gemma4_assistant": "a drafter, which reads the keys and values of the model that it assists",
    "gemma4_unified_assistant": "a drafter, which reads the keys and values of the model that it assists",
    "musicgen": "audio codes, no text",
    "musicgen_melody": "audio codes, no text",
    "xlm": "transformers has it as an encoder only",
}
"""Types of transformers' causal table that are no language model of their own → why."""

_FULL, _SLIDING, _LINEAR = "full_attention", "sliding_attention", "linear_attention"
_MIXED: Words = {"layer_types": [_SLIDING, _FULL, _SLIDING, _FULL]}
_LINEAR_MIXED: Words = {"layer_types": [_LINEAR, _FULL, _LINEAR, _FULL]}
_HYBRID: Words = {"layer_types": ["hybrid", "hybrid_sliding"] * 2}
_ROPE: Words = {"rope_type": "default", "rope_theta": 10000.0}
_MROPE: Words = {"rope_parameters": {**_ROPE, "mrope_section": [4, 6, 6]}}
_GEMMA4_PLE: Words = {
    **_MIXED,
    "num_kv_shared_layers": 2,
    "global_head_dim": 64,
    "num_experts": None,
    "top_k_experts": None,
    "moe_intermediate_size": None,
}
_GEMMA4_EXPERTS: Words = {
    **_MIXED,
    "hidden_size_per_layer_input": 0,
    "enable_moe_block": True,
    "attention_k_eq_v": True,
    "global_head_dim": 64,
    "num_global_key_value_heads": 1,
    "top_k_experts": 2,
}
_DOTS3: Words = {
    "head_dim": 64,
    "swa_num_attention_heads": 4,
    "swa_num_key_value_heads": 4,
    "swa_q_lora_rank": 64,
    "swa_kv_lora_rank": 64,
    "swa_head_dim": 64,
    "swa_qk_nope_head_dim": 32,
    "swa_v_head_dim": 32,
    "layer_types": ["indexed_attention", _SLIDING] * 2,
}
_QWEN35: Words = {
    **_LINEAR_MIXED,
    "rope_parameters": {**_ROPE, "partial_rotary_factor": 0.25, "mrope_section": [2, 1, 1]},
}
_QWEN4: Words = {
    **_QWEN35,
    "indexer_n_heads": 2,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 32,
    "indexer_budget": 16,
    "indexer_compress_ratio": 4,
    "ple_layer_ids": [1],
    "ngram_vocab_size_base": 512,
    "split_ngram_parts": 2,
    "heads_per_ngram": 2,
    "hc_lowrank": 16,
}
_POSITIONS: Words = {"num_position_embeddings": 16}
_DEEPSTACK: Words = {**_POSITIONS, "deepstack_visual_indexes": [0, 1]}

OVERRIDES: Mapping[str, Words] = {
    "bailing_hybrid": {"layer_group_size": 2},
    "bamba": {"attn_layer_indices": [1, 3]},
    "beam": {**_MIXED, "mlp_layer_types": ["dense", "dense", "sparse", "sparse"]},
    "blt": {"encoder_hash_byte_group_vocab": 512},
    "cohere": {"logit_scale": 1.0},
    "cohere2": {"logit_scale": 1.0},
    "cohere2_moe": {"logit_scale": 1.0},
    "cohere_compass_text": {
        **_MIXED,
        "rope_parameters": {_FULL: _ROPE, _SLIDING: _ROPE},
        "logit_scale": 1.0,
    },
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "clip_qkv": 8.0}},
    "deepseek_v2-lite": {"q_lora_rank": None},
    "doge": {"keep_window_size": 16},
    "dots3_note": {
        "text_config": _DOTS3,
        "audio_config": {"adapter_out_dim": 128, "adapter_input_size": 64},
        "vision_config": {
            "mlp_layer_types": ["dense", "sparse"],
            "adapter_in_dim": 64,
            "adapter_out_dim": 128,
        },
    },
    "dots3_note_text": _DOTS3,
    "emu3": {"vq_config": {"base_channels": 32, "codebook_size": 64}, "vocabulary_map": {"<image>": 4}},
    "falcon-new": {"new_decoder_architecture": True, "num_kv_heads": 2},
    "gemma3": {"text_config": _MIXED},
    "gemma3_text": _MIXED,
    "gemma3n_text": {
        **_MIXED,
        "num_kv_shared_layers": 2,
        "activation_sparsity_pattern": [0.95, 0.95, 0.0, 0.0],
    },
    "gemma4": {"text_config": _GEMMA4_PLE},
    "gemma4_text": _GEMMA4_EXPERTS,
    "gemma4_text-ple": _GEMMA4_PLE,
    "gemma4_unified": {
        "text_config": {**_MIXED, "global_head_dim": 64},
        "vision_config": {"mm_embed_dim": 64, "mm_posemb_size": 16, "output_proj_dims": 64},
    },
    "gemma4_unified_text": {**_MIXED, "global_head_dim": 64},
    "glm4v": {"text_config": _MROPE},
    "gpt_bigcode-mha": {"multi_query": False},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "granitemoehybrid": _LINEAR_MIXED,
    "inkling2_text": {**_HYBRID, "n_layers_per_attn_res_block": 2, "unpadded_vocab_size": 500},
    "inkling_text": {
        **_HYBRID,
        "mlp_layer_types": ["dense"] + ["sparse"] * 3,
        "logits_mup_width_multiplier": 1.0,
    },
    "jamba": {"attn_layer_period": 4, "attn_layer_offset": 3, "use_mamba_kernels": False},
    "kimi_linear": _LINEAR_MIXED,
    "kolibri1": _MIXED,
    "laguna": {**_MIXED, "num_attention_heads_per_layer": [4, 8, 4, 8]},
    "lfm2": {"full_attn_idxs": [1, 3], "block_auto_adjust_ff_dim": False},
    "lfm2_moe": {"layer_types": ["conv", _FULL, "conv", _FULL]},
    "llama-tied": {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True},
    "llama4": {
        "text_config": {"interleave_moe_layer_step": 2},
        "vision_config": {"projector_input_dim": 64, "projector_output_dim": 64, "vision_output_dim": 64},
    },
    "llama4_text": {"interleave_moe_layer_step": 2},
    "longcat_flash": {"zero_expert_num": 2},
    "mamba2": {"head_dim": 64},
    "mellum": _MIXED,
    "minimax_m3_vl_text": {
        "layer_types": [_FULL, "minimax_m3_sparse"] * 2,
        "mlp_layer_types": ["dense"] + ["sparse"] * 3,
    },
    "ministral": _MIXED,
    "mllama": {"text_config": {"cross_attention_layers": [1]}},
    "opt-350m": {"do_layer_norm_before": False, "word_embed_proj_dim": 64},
    "pixtral": {"text_config": {"model_type": "mistral"}, "vision_config": {"model_type": "pixtral"}},
    "qwen2_5_vl": {"text_config": _MROPE},
    "qwen2_moe": {"mlp_only_layers": [0]},
    "qwen3_5": {"text_config": _QWEN35, "vision_config": _POSITIONS},
    "qwen3_5_moe": {"text_config": _QWEN35, "vision_config": _POSITIONS},
    "qwen3_5_moe_text": _QWEN35,
    "qwen3_5_text": _QWEN35,
    "qwen3_vl": {"text_config": _MROPE, "vision_config": _DEEPSTACK},
    "qwen3_vl_moe": {"text_config": _MROPE, "vision_config": _DEEPSTACK},
    "qwen4_exp": {"text_config": _QWEN4, "vision_config": _POSITIONS},
    "qwen4_exp_text": _QWEN4,
    "reformer": {
        "attn_layers": ["local", "lsh", "local", "lsh"],
        "axial_pos_shape": (16, 32),
        "axial_pos_embds_dim": (32, 96),
        "hash_seed": 0,
        "local_attn_chunk_length": 16,
        "lsh_attn_chunk_length": 16,
        "num_buckets": 4,
    },
    "roc_bert": {"pronunciation_vocab_size": 64, "shape_vocab_size": 64},
    "xmod": {"default_language": "en_XX"},
    # transformers 5.23 zeroes the padding row of a loaded Youtu.
    "youtu": {"pad_token_id": None},
    "zamba": {
        "layers_block_type": [_LINEAR, _LINEAR, "hybrid", "hybrid"],
        "num_key_value_heads": 4,
        "attention_hidden_size": 256,
        "attention_head_dim": 64,
        "use_mamba_kernels": False,
    },
    "zamba2": {"layers_block_type": [_LINEAR, _LINEAR, "hybrid", "hybrid"], "use_mamba_kernels": False},
    "zaya": {**_HYBRID, "num_experts_per_tok": 1},
}
"""What the small sizes do not suit, by type: arguments of its config class, nested ones under their key."""
