"""Small random models that continue no text: encoders, classifiers, encoder-decoders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from torch import nn
from transformers import PreTrainedModel

from tests.support.small_tokenizer import save_tokenizer

_SIZES: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_TWO_STACKS: dict[str, Any] = {
    "vocab_size": 512,
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
_T5: dict[str, Any] = {
    "vocab_size": 512,
    "d_model": 64,
    "d_kv": 16,
    "d_ff": 128,
    "num_layers": 2,
    "num_heads": 4,
    "decoder_start_token_id": 0,
}

MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "BertForSequenceClassification": lambda: transformers.BertForSequenceClassification(
        transformers.BertConfig(**_SIZES, id2label={0: "a", 1: "b", 2: "c"})
    ),
    "BertForMaskedLM": lambda: transformers.BertForMaskedLM(transformers.BertConfig(**_SIZES)),
    "XLMRobertaModel": lambda: transformers.XLMRobertaModel(transformers.XLMRobertaConfig(**_SIZES)),
    "ElectraForTokenClassification": lambda: transformers.ElectraForTokenClassification(
        transformers.ElectraConfig(**_SIZES, embedding_size=64)
    ),
    "DistilBertForSequenceClassification": lambda: transformers.DistilBertForSequenceClassification(
        transformers.DistilBertConfig(
            vocab_size=512, dim=64, n_layers=2, n_heads=4, hidden_dim=128, max_position_embeddings=128
        )
    ),
    "GPT2ForSequenceClassification": lambda: transformers.GPT2ForSequenceClassification(
        transformers.GPT2Config(
            vocab_size=512,
            n_embd=64,
            n_layer=2,
            n_head=4,
            n_positions=128,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    ),
    "T5ForConditionalGeneration": lambda: transformers.T5ForConditionalGeneration(
        transformers.T5Config(**_T5)
    ),
    "BartForConditionalGeneration": lambda: transformers.BartForConditionalGeneration(
        transformers.BartConfig(**_TWO_STACKS)
    ),
    "MarianMTModel": lambda: transformers.MarianMTModel(transformers.MarianConfig(**_TWO_STACKS)),
}
"""Class → a small one of it."""


def save_other(name: str, folder: Path, text: Path, *, dtype: torch.dtype = torch.bfloat16) -> Path:
    """Write such a model, with a tokenizer that was trained on `text`."""
    torch.manual_seed(0)
    model = MODELS[name]()
    cast(nn.Module, model).to(dtype)
    model.save_pretrained(folder)
    save_tokenizer(folder, [text.read_text(encoding="utf-8")])
    return folder
