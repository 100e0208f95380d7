"""What transformers' classes take and load, known without transformers.

The facts lie in `class_facts.json`, a line for each type, made by `python -m tools.class_facts` from the
classes themselves. A type that the file does not know (code of the model's own) has none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from quantize_lib.architecture.class_names import Renaming
from quantize_lib.architecture.class_tensors import ClassTensor, parse_tensor
from quantize_lib.architecture.class_words import evaluate

_PATH = Path(__file__).with_name("class_facts.json")
_EVERY = "*"
"""In the file, in the place of a type: what holds for every one."""


@dataclass(frozen=True, kw_only=True)
class ClassFacts:
    """One `model_type`: its config class, and the class that loads a model that continues text.

    Attributes:
        model_type: as config.json calls it.
        class_name: of the class that loads it; "" where it is the config of a part only.
        base: what transformers puts in front of the base model's names; files may lack it.
        kinds: the kind of value that the config class insists on, by key, as `config_values` reads it.
        defaults: what it takes where config.json says nothing, by key; only JSON's single values.
        names: transformers' own words for keys that the class calls otherwise.
        text: the key under which the language model's config lies; "" where it is the config itself.
        parts: the types of the configs inside the config where it does not say, by key.
        tied: whether the head is the embedding where config.json does not say.
        embedding, head: names in memory of their weights; "" where there is none.
        even_heads: whether the hidden size has to be a multiple of the number of heads.
        padded: whether the embedding takes `pad_token_id` as its padding index.
        derived: how sizes that are null by default come from others, by key.
        varied: whether blocks are not all alike.
        unlearned: whether a key says how they differ in a way that only the class knows.
        lists: the key that says how many members a list of modules has, by the list's name on disk.
        left_over: patterns of names that the class itself expects to be left over.
        beside: names on disk of the parts that stand beside the language model.
        renamed: how names on disk become those in memory.
        tensors: what the class loads of the language model, by name on disk with `*` for each index.
    """

    model_type: str
    class_name: str = ""
    base: str = ""
    kinds: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    tied: bool = False
    embedding: str = ""
    head: str = ""
    even_heads: bool = False
    padded: bool = False
    derived: Mapping[str, str] = field(default_factory=dict)
    varied: bool = False
    unlearned: bool = False
    lists: Mapping[str, str] = field(default_factory=dict)
    left_over: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    renamed: tuple[Renaming, ...] = ()
    lines: Mapping[str, str] = field(default_factory=dict, repr=False)

    @cached_property
    def tensors(self) -> Mapping[str, ClassTensor]:
        """What the class loads of the language model, by name on disk with `*` for each index."""
        return {name: parse_tensor(name, line) for name, line in self.lines.items()}

    @property
    def never_ties(self) -> bool:
        """Whether the class has a head of its own though its config says that the two are tied."""
        head = self.lines.get(self.head)
        return self.tied and head is not None and "tie_word_embeddings" not in head

    def key(self, name: str) -> str:
        """The class's own word for a key that transformers calls so (`n_embd` for `hidden_size`)."""
        return self.names.get(name, name)

    def value(self, config: Mapping[str, Any], key: str) -> Any:
        """What a config says under a key, in either word, or the class takes where it says nothing."""
        if key in config:
            return config[key]
        said = next((name for name in self.other_names(key) if name in config), None)
        return config[said] if said is not None else self.defaults.get(key)

    def other_names(self, key: str) -> list[str]:
        """Transformers' own words for one of the class's keys, which config.json may use as well."""
        both = [name for name, own in self.names.items() if own == key]
        return [*both, self.names[key]] if key in self.names else both

    def text_facts(self, config: Mapping[str, Any]) -> ClassFacts:
        """The facts of the language model's part of a config; these where it is the config itself."""
        part = config.get(self.text) if self.text else None
        if not self.text:
            return self
        said = part.get("model_type") if isinstance(part, Mapping) else None
        found = _known(said) if isinstance(said, str) else None
        return found or _known(self.parts[self.text]) or ClassFacts(model_type=self.parts[self.text])

    def text_config(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """The language model's config inside a config; the config itself where it is no other."""
        part = config.get(self.text) if self.text else config
        return part if isinstance(part, Mapping) else {}

    def sizes(self, config: Mapping[str, Any]) -> dict[str, int]:
        """The whole numbers of the language model's config, by key: said, the class's own, and derived."""
        text, part = self.text_facts(config), self.text_config(config)
        keys = dict.fromkeys((*text.defaults, *part, *text.names.values()))
        values = {key: text.value(part, key) for key in keys}
        sizes = {
            key: value
            for key, value in values.items()
            if isinstance(value, int) and not isinstance(value, bool)
        }
        for key, word in {**text.derived, **self.derived}.items():
            if key not in sizes and (size := evaluate(word, sizes)) is not None:
                sizes[key] = size
        return sizes


def of(config: Mapping[str, Any]) -> ClassFacts | None:
    """The facts of a config's type; None where transformers has no such type, or the config names none."""
    model_type = config.get("model_type")
    return _known(model_type) if isinstance(model_type, str) else None


def completed(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A config with what its class takes where it says nothing; as it is, where the class is not known."""
    facts = of(config)
    if facts is None:
        return config
    return {**{key: facts.value(config, key) for key in facts.defaults}, **config}


def every() -> Iterable[ClassFacts]:
    """The facts of every type that has a class which continues text."""
    facts = (_known(model_type) for model_type in _entries())
    return (one for one in facts if one is not None and one.class_name)


@cache
def activations() -> tuple[str, ...]:
    """The activation functions that transformers knows."""
    return tuple(_entries()[_EVERY]["activations"])


@cache
def _known(model_type: str) -> ClassFacts | None:
    entries = _entries()
    entry = entries.get(model_type)
    if entry is None or model_type == _EVERY:
        return None
    keys: Mapping[str, Mapping[str, Any]] = entry.get("keys", {})
    return ClassFacts(
        model_type=model_type,
        class_name=entry.get("class", ""),
        base=entry.get("base", ""),
        kinds={key: kind for kind, defaults in keys.items() if kind for key in defaults},
        # An empty mapping stands for a default that is no single value.
        defaults={key: value for defaults in keys.values() for key, value in defaults.items() if value != {}},
        names=entry.get("names", {}),
        text=entry.get("text", ""),
        parts=entry.get("parts", {}),
        tied=entry.get("tied", False),
        embedding=entry.get("embedding", ""),
        head=entry.get("head", ""),
        even_heads=entry.get("even_heads", False),
        padded=entry.get("padded", False),
        derived=entry.get("derived", {}),
        varied=entry.get("varied", False),
        unlearned=entry.get("unlearned", False),
        lists=entry.get("lists", {}),
        left_over=tuple(entry.get("left_over", ())),
        beside=tuple(entry.get("beside", ())),
        renamed=tuple(Renaming(*one) for one in (*entry.get("renamed", ()), *entries[_EVERY]["renamed"])),
        lines={
            f"{start}{name}": line
            for start, lines in entry.get("tensors", {}).items()
            for name, line in lines.items()
        },
    )


@cache
def _entries() -> Mapping[str, Any]:
    entries: Mapping[str, Any] = json.loads(_PATH.read_text(encoding="utf-8"))
    return entries
