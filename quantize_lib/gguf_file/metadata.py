"""What a GGUF file says of its model, beside the vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from quantize_lib.gguf_file.families import RMS_NORM, family_of, head_width
from quantize_lib.gguf_file.families.entry import Experts
from quantize_lib.gguf_file.rotary import rotary_width, write_rotary

if TYPE_CHECKING:
    from gguf import GGUFWriter


def write_metadata(writer: GGUFWriter, config: Mapping[str, Any], *, name: str, number: int) -> None:
    """Write what a file says of its model, beside the vocabulary.

    Args:
        config: the language model's part of `config.json`.
        name: of the base model.
        number: `general.file_type`.
    """
    from gguf import GGML_QUANT_VERSION, GGUFType

    family = family_of(config)
    heads, width = config["num_attention_heads"], head_width(config)
    writer.add_type(GGUFType.MODEL)
    # By this very name transformers takes the file for one of a class that it then does not find.
    writer.add_name("Mistral" if name == "mistral" else name)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    write_rotary(writer, config, family.theta)
    if family.layer_norm:
        writer.add_layer_norm_eps(config[family.layer_norm])
    else:
        writer.add_layer_norm_rms_eps(config[RMS_NORM])
    writer.add_vocab_size(config["vocab_size"])
    if config.get("head_dim"):
        writer.add_key_length(width)
        writer.add_value_length(width)
    if family.alternating or family.rotary_share is not None:
        writer.add_rope_dimension_count(rotary_width(config, width, family.rotary_share))
    if family.experts is not None:
        _write_experts(writer, config, family.experts)
    family.write(writer, config)
    writer.add_file_type(number)
    writer.add_quantization_version(GGML_QUANT_VERSION)


def _write_experts(writer: GGUFWriter, config: Mapping[str, Any], experts: Experts) -> None:
    writer.add_expert_count(experts.count(config) or 0)
    writer.add_expert_used_count(config[experts.used])
    if experts.width:
        writer.add_expert_feed_forward_length(config[experts.width])
    if experts.shared_width:
        writer.add_expert_shared_feed_forward_length(config[experts.shared_width])
