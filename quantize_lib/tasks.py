"""What a model was made for, by the class that its config names; known without transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a model does.

    Attributes:
        pipeline: as the Hub calls it (`pipeline_tag`).
        auto_class: of transformers, which loads such models.
        words: in a message: "this is …".
        example: Python that uses `model`, `inputs` and `tokenizer`.
        continues: whether it is a causal language model: it continues text, block after block, so it can be
            calibrated, and has a perplexity.
    """

    pipeline: str
    auto_class: str
    words: str
    example: str
    continues: bool = False


CAUSAL_ENDINGS = ("ForCausalLM", "LMHeadModel")
"""Of the names of classes that continue text."""

_GENERATE = """\
tokens = model.generate(**inputs, max_new_tokens=50)
print(tokenizer.decode(tokens[0], skip_special_tokens=True))"""

GENERATION = Task(
    pipeline="text-generation",
    auto_class="AutoModelForCausalLM",
    words="a causal language model",
    example=_GENERATE,
    continues=True,
)
_SEVERAL_SENSES = Task(
    pipeline="image-text-to-text",
    auto_class="AutoModelForImageTextToText",
    words="a language model with other senses",
    example=_GENERATE,
    continues=True,
)
_TEXT_IN_ALL_BUT_NAME = frozenset({"moss_transcribe_diarize"})
"""Model types whose class is called as one of several senses, and is among transformers' causal models."""
_SEQUENCE_TO_SEQUENCE = Task(
    pipeline="text2text-generation",
    auto_class="AutoModelForSeq2SeqLM",
    words="an encoder-decoder model",
    example=_GENERATE,
)
_FEATURES = Task(
    pipeline="feature-extraction",
    auto_class="AutoModel",
    words="an encoder",
    example="print(model(**inputs).last_hidden_state.mean(1))",
)
_BY_ENDING: Mapping[str, Task] = {
    "ForSequenceClassification": Task(
        pipeline="text-classification",
        auto_class="AutoModelForSequenceClassification",
        words="a model for sequence classification",
        example="print(model.config.id2label[model(**inputs).logits.argmax(-1).item()])",
    ),
    "ForTokenClassification": Task(
        pipeline="token-classification",
        auto_class="AutoModelForTokenClassification",
        words="a model for token classification",
        example="labels = model(**inputs).logits[0].argmax(-1).tolist()\n"
        "print([model.config.id2label[label] for label in labels])",
    ),
    "ForMaskedLM": Task(
        pipeline="fill-mask",
        auto_class="AutoModelForMaskedLM",
        words="a masked language model",
        example="print(tokenizer.decode(model(**inputs).logits[0].argmax(-1)))",
    ),
}
_TRANSLATES = ("ForConditionalGeneration", "MTModel")
"""Endings of encoder-decoder classes with a head, where the config says that the model is one."""
_OTHER_SENSES = ("vision_config", "audio_config", "num_mel_bins")
"""Keys of models that read images or sound."""
_ENCODERS = frozenset(
    [
        *("albert", "bart", "bert", "big_bird", "camembert", "convbert", "data2vec-text", "deberta"),
        *("deberta-v2", "distilbert", "electra", "ernie", "esm", "eurobert", "flaubert", "fnet"),
        *("funnel", "gte", "ibert", "jina_embeddings_v3", "longformer", "luke", "mbart", "megatron-bert"),
        *("mobilebert", "modernbert", "mpnet", "mra", "mvp", "nomic_bert", "nystromformer", "rembert"),
        *("roberta", "roberta-prelayernorm", "roc_bert", "roformer", "squeezebert", "xlm", "xlm-roberta"),
        *("xlm-roberta-xl", "xmod", "yoso", "t5", "mt5", "umt5", "longt5"),
    ]
)
"""Types whose class without a head is no causal language model's: nothing else says so of a `…Model`."""


def task_of(config: Mapping[str, Any]) -> Task:
    """What a model was made for.

    Args:
        config: `config.json`; what names no class of another task is taken for a causal language model, which
            its tensors have to bear out.
    """
    return stated_task(config) or GENERATION


def stated_task(config: Mapping[str, Any]) -> Task | None:
    """The task of the class that a config names; None where it names none that is known."""
    listed = config.get("architectures")
    classes = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    if any(name.endswith(CAUSAL_ENDINGS) for name in classes):
        return GENERATION
    if _has_other_senses(config) and any(name.endswith("ForConditionalGeneration") for name in classes):
        return _SEVERAL_SENSES
    if any(config.get(key) for key in _OTHER_SENSES):
        return None
    return next((task for name in classes if (task := _of_class(name, config)) is not None), None)


def _has_other_senses(config: Mapping[str, Any]) -> bool:
    """Whether the language model is a part of it, beside others."""
    parts = any(key.endswith("_config") and isinstance(config[key], Mapping) for key in config)
    whole = config.get("is_encoder_decoder") is True or config.get("model_type") in _TEXT_IN_ALL_BUT_NAME
    return parts and not whole


def _of_class(name: str, config: Mapping[str, Any]) -> Task | None:
    for ending, task in _BY_ENDING.items():
        if name.endswith(ending):
            return task
    if config.get("is_encoder_decoder") is True and name.endswith(_TRANSLATES):
        return _SEQUENCE_TO_SEQUENCE
    # AutoModel gives both stacks of a T5 where an EncoderModel has one.
    whole = name.endswith("Model") and not name.endswith("EncoderModel")
    return _FEATURES if whole and config.get("model_type") in _ENCODERS else None
