"""Values of config.json: what cannot be, what is ours to choose, and what a checkpoint's own file says.

Judged without transformers, so that plan can refuse before anything is downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantize_lib.architecture import class_facts
from quantize_lib.architecture.class_facts import ClassFacts
from quantize_lib.architecture.families import is_causal
from quantize_lib.architecture.language_model import MAX_SIZE, vocabulary
from quantize_lib.errors import SourceError
from quantize_lib.wording import allowed, meant, show

QUANTIZATION_KEYS = ("quantization_config", "compression_config", "quantization")
"""Where config.json says that a model is quantized: transformers, compressed-tensors of old, MLX."""
_ATTENTION_KEYS = ("_attn_implementation", "attn_implementation")
_ATTENTION_ANYWHERE = (None, "eager", "sdpa")
"""What needs neither a package nor a device of its own."""
_OURS = {
    "use_cache": True,
    "output_attentions": False,
    "output_hidden_states": False,
    "return_dict": True,
    "torchscript": False,
    "gradient_checkpointing": False,
}
"""How a model is run, not what it is: key → what is taken."""
_DTYPE_KEYS = ("dtype", "torch_dtype")
_DTYPES = (None, "bfloat16", "float16", "float32", "float64", "half", "float", "double")
_NUMBERS = {"whole": (int,), "decimal": (float,), "number": (int, float)}
_LISTS = {"wholes": "whole", "decimals": "decimal", "texts": "text"}
_ASKED = {
    "activation": "text",
    "bool": "true or false",
    "whole": "a whole number",
    "decimal": "a number with a decimal point",
    "number": "a number",
    "text": "text",
    "ids": "a whole number or a list of them",
    "wholes": "a list of whole numbers",
    "decimals": "a list of numbers with a decimal point",
    "texts": "a list of texts",
    "mapping": "a mapping",
    "null": "null",
}
_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size")
_HEADS = ("num_attention_heads", "num_key_value_heads")
_MOST_BLOCKS = 10_000


def check_values(config: Mapping[str, Any]) -> None:
    """Refuse what transformers cannot build a model of.

    Args:
        config: `config.json` of a supported model.

    Raises:
        SourceError: naming the key, its value and what is allowed.
    """
    facts = class_facts.of(config)
    if facts is None:
        return
    _check_kinds(facts, config, "")
    if facts.text:
        part = config.get(facts.text, {})
        if not isinstance(part, Mapping):
            raise _bad(facts.text, part, _ASKED["mapping"])
        _check_kinds(facts.text_facts(config), part, f"{facts.text}.")
    sizes = _Sizes(facts, config)
    sizes.check_each()
    sizes.check_heads()
    sizes.check_layer_types()
    sizes.check_padding()


def run_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """config.json as a model in full precision is computed with: without what is ours to choose."""
    left_out = {*QUANTIZATION_KEYS, *_unusable_attention(config), *_unusable_dtypes(config)}
    left_out |= {key for key, taken in _OURS.items() if config.get(key, taken) != taken}
    return {key: value for key, value in config.items() if key not in left_out}


def written_config(
    config: Mapping[str, Any], *, dtype: str, model_class: str, one_dtype: bool = False
) -> dict[str, Any]:
    """config.json as a checkpoint has it: as users of the base model have it, without what cannot work.

    Args:
        config: the base model's.
        dtype: of the tensors, as PyTorch calls it.
        model_class: as transformers loads it.
        one_dtype: loaders bring some tensors to the dtype that the config says and leave others as they are,
            so it has to be theirs.
    """
    # quantization_config keeps its place: the checkpoint's own will stand there.
    left_out = {*QUANTIZATION_KEYS[1:], *_unusable_attention(config)}
    if config.get("return_dict") is False:
        left_out.add("return_dict")
    kept = {key: value for key, value in config.items() if key not in left_out}
    stated = [key for key in _DTYPE_KEYS if key in config] if one_dtype else _unusable_dtypes(config)
    kept |= dict.fromkeys(stated, dtype)
    return kept if is_causal(config) else {**kept, "architectures": [model_class]}


def value_notes(config: Mapping[str, Any]) -> tuple[str, ...]:
    """What is to be told of values that a checkpoint does not take over."""
    notes = [
        f"config.json asks for the attention {show(config[key])} ({key}), which not every machine has; "
        "it is left to "
        "who loads the checkpoint"
        for key in _unusable_attention(config)
    ]
    notes += [
        f"config.json says {key}: {show(config[key])}, which no weights have; the checkpoint says what "
        "its own are"
        for key in _unusable_dtypes(config)
    ]
    if config.get("return_dict") is False:
        notes.append("config.json says return_dict: false, with which the model does not run; it is left out")
    return tuple(notes)


def _check_kinds(facts: ClassFacts, config: Mapping[str, Any], prefix: str) -> None:
    """Check the values of one config.

    Args:
        config: the whole one or the language model's.
        prefix: the key under which it lies in config.json, with a dot.
    """
    for key, kind in facts.kinds.items():
        words = kind.split(" or ")
        for said in (one for one in (key, *facts.other_names(key)) if one in config):
            value = config[said]
            if not any(_fits(value, word) for word in words):
                raise _bad(prefix + said, value, " or ".join(_ASKED[word] for word in words))
            functions = class_facts.activations()
            if "activation" in words and isinstance(value, str) and value not in functions:
                raise SourceError(
                    f"config.json: {prefix}{said} is {show(value)}, which is no activation function of "
                    "transformers",
                    hint=allowed(functions) + meant(value, functions),
                )


def _fits(value: object, word: str) -> bool:
    if word == "null":
        return value is None
    if word == "bool":
        return isinstance(value, bool)
    if word in _NUMBERS:
        # transformers writes infinities so, which JSON has no word for.
        infinite = isinstance(value, Mapping) and list(value) == ["__float__"] and word != "whole"
        return infinite or (isinstance(value, _NUMBERS[word]) and not isinstance(value, bool))
    if word in ("activation", "text"):
        return isinstance(value, str)
    if word == "mapping":
        return isinstance(value, Mapping)
    if word in _LISTS:
        return isinstance(value, list) and all(_fits(item, _LISTS[word]) for item in value)
    return all(_fits(item, "whole") for item in (value if isinstance(value, list) else [value]))


class _Sizes:
    """The sizes that a language model's config says, checked against each other.

    Args:
        facts: of the whole config.
        config: `config.json`.
    """

    def __init__(self, facts: ClassFacts, config: Mapping[str, Any]) -> None:
        self._facts = facts
        self._whole = config
        self._text = facts.text_facts(config)
        self._config = facts.text_config(config)
        self._prefix = f"{facts.text}." if facts.text else ""
        self._sizes = facts.sizes(config)

    def check_each(self) -> None:
        """Sizes are positive, and no model has more blocks than a few thousand."""
        for name in _SIZES:
            key = self._text.key(name)
            value = self._said(key)
            most = _MOST_BLOCKS if name == "num_hidden_layers" else MAX_SIZE - 1
            if isinstance(value, int) and not 1 <= value <= most:
                raise SourceError(
                    f"config.json: {self._prefix}{key} is {show(value)}; a positive whole number is needed"
                )

    def check_heads(self) -> None:
        """Heads share the hidden size where the class insists on it, and their keys and values always."""
        hidden, heads, shared = (self._text.key(name) for name in ("hidden_size", *_HEADS))
        size, count, others = (self._sizes.get(key) for key in (hidden, heads, shared))
        if self._facts.even_heads and size and count and size % count:
            raise _bad(self._prefix + heads, count, f"a divisor of {hidden} ({size})")
        if count and others and self._said(shared) is not None and count % others:
            raise _bad(self._prefix + shared, others, f"a divisor of {heads} ({count})")

    def check_layer_types(self) -> None:
        """Each block has one type."""
        blocks, types = self._text.key("num_hidden_layers"), self._config.get("layer_types")
        count = self._sizes.get(blocks)
        if types is None or count is None:
            return
        if not _fits(types, "texts"):
            raise _bad(f"{self._prefix}layer_types", types, _ASKED["texts"])
        if len(types) != count:
            raise SourceError(
                f"config.json: {self._prefix}layer_types has {len(types)} entries, but {blocks} says {count} "
                "blocks",
                hint="Each block has one type.",
            )

    def check_padding(self) -> None:
        """The embedding has a row for the padding token, where it takes one."""
        pad = self._said("pad_token_id")
        if not self._facts.padded or not isinstance(pad, int):
            return
        rows = vocabulary(self._whole)
        # PyTorch counts negative ones from the end.
        if not -rows <= pad < rows:
            raise _bad(
                f"{self._prefix}pad_token_id",
                pad,
                f"0 to {rows - 1} (the vocabulary has {rows} tokens) or null",
            )

    def _said(self, key: str) -> Any:
        names = (key, *self._text.other_names(key))
        return next((self._config[name] for name in names if name in self._config), None)


def _unusable_attention(config: Mapping[str, Any]) -> list[str]:
    return [key for key in _ATTENTION_KEYS if config.get(key) not in _ATTENTION_ANYWHERE]


def _unusable_dtypes(config: Mapping[str, Any]) -> list[str]:
    return [key for key in _DTYPE_KEYS if config.get(key) not in _DTYPES]


def _bad(key: str, value: object, needed: str) -> SourceError:
    # What looks like a number may be text.
    shown = f"the text {show(value)}" if isinstance(value, str) else show(value)
    return SourceError(
        f"config.json: {key} is {shown}; {needed} is needed",
        hint="Correct config.json of the base model.",
    )
