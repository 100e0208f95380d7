"""A prompt's greedy continuation, by settings of the check's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import GenerationConfig

_ENCODER_LAYERS = ("encoder_layers", "num_encoder_layers")


def continue_prompt(model: Any, tokenizer: Any, prompt: str, *, count: int) -> str:
    """The greedy continuation of a prompt by at most `count` tokens, without special tokens.

    `generation_config.json` is how a model's author likes to sample: it may ask for stop strings, several
    sequences, caches and helpers that are not there. Of all that only the tokens that end a text count here.

    Args:
        model: a causal language model of transformers; its `generation_config` is replaced.
        tokenizer: of the same folder.
    """
    inputs = tokenizer(prompt, return_tensors="pt").to(model.device)
    # generate() takes from the model's own settings what its argument leaves open.
    model.generation_config = settings = greedy(model, count)
    tokens = model.generate(
        # Only what every decoder takes: some tokenizers add token_type_ids.
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        generation_config=settings,
    )
    return str(tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


def greedy(model: Any, count: int, **other: Any) -> GenerationConfig:
    """Settings by which the likeliest token is taken each time.

    Of the model's own settings only the tokens that end a text count.

    Args:
        count: of new tokens, at most.
        other: settings that differ, by their names in transformers.
    """
    from transformers import GenerationConfig

    stated = model.generation_config.eos_token_id
    rows = model.get_input_embeddings().weight.shape[0]
    ends = [
        token
        for token in (stated if isinstance(stated, list) else [stated])
        if isinstance(token, int) and 0 <= token < rows
    ]
    # Of a decoder that stands alone, transformers counts the encoder's layers for the cache.
    alone = any(hasattr(model.config, key) for key in _ENCODER_LAYERS)
    settings = {
        **({"use_cache": False} if alone else {}),
        "do_sample": False,
        "num_beams": 1,
        "max_new_tokens": count,
        "eos_token_id": ends or None,
        "pad_token_id": ends[0] if ends else 0,
    }
    return GenerationConfig(**{**settings, **other})
