"""What kind of model a config describes, and whether it is one that continues text."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from quantize_lib.architecture import class_facts
from quantize_lib.errors import SourceError
from quantize_lib.tasks import CAUSAL_ENDINGS, task_of

TIED = "tie_word_embeddings"

_HEADS = ("lm_head.weight", "embed_out.weight")
_OTHER_HEADS = ("score", "classifier", "qa_outputs", "v_head", "value_head", "regression_head")


def check_type(config: Mapping[str, Any]) -> None:
    """Refuse what its config alone shows to be no model for a task that is known.

    Args:
        config: `config.json`.

    Raises:
        SourceError: naming the model and the reason.
    """
    if not isinstance(config.get("model_type"), str):
        raise SourceError(
            "config.json says no model_type, so nobody knows which class the model has",
            hint="Say the model_type of the model's class in config.json, as transformers calls it.",
        )
    if _is_seq2seq(config) and task_of(config).continues:
        raise SourceError(
            f"{named(config)} is an encoder-decoder model by config.json (is_encoder_decoder), and not by "
            "its class",
            hint="List the class that loads it under architectures, such as T5ForConditionalGeneration.",
        )


def is_causal(config: Mapping[str, Any]) -> bool:
    """Whether `architectures` lists a class that continues text; it need not list any."""
    return any(name.endswith(CAUSAL_ENDINGS) for name in _classes(config))


def check_head(config: Mapping[str, Any], names: Collection[str]) -> None:
    """Refuse what was made for another task than to continue text; its tensors count, not `architectures`.

    Args:
        names: of the tensors, as they are on disk.

    Raises:
        SourceError: where the head of another task stands in the place of the language model's.
    """
    other = not task_of(config).continues
    if not _classes(config) or other or is_causal(config) or any(name in _HEADS for name in names):
        return
    if any(name.partition(".")[0] in _OTHER_HEADS for name in names):
        raise SourceError(
            f"{named(config)} is not a causal language model",
            hint="Name a model whose config.json lists a …ForCausalLM class under architectures.",
        )


def is_tied(config: Mapping[str, Any]) -> bool:
    """Whether the config says, in words or by its class' default, that the head is the embedding."""
    said, facts = config.get(TIED), class_facts.of(config)
    if facts is not None and facts.never_ties:
        return False
    return said if isinstance(said, bool) else facts is not None and facts.tied


def _is_seq2seq(config: Mapping[str, Any]) -> bool:
    return config.get("is_encoder_decoder") is True


def _classes(config: Mapping[str, Any]) -> list[str]:
    value = config.get("architectures")
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def named(config: Mapping[str, Any]) -> str:
    """`T5ForConditionalGeneration (t5)`, fit for a message whatever the file says."""
    classes, model_type = _classes(config), config.get("model_type")
    shown = f"{classes[0]} ({model_type})" if classes else f"the architecture {model_type}"
    return "".join(c for c in shown[:120] if c.isprintable())
