"""The facts of transformers' classes against the classes themselves."""

from __future__ import annotations

import json

import pytest

from quantize_lib.architecture import class_facts
from tools.class_facts import entries, models
from tools.class_facts.__main__ import EVERY, PATH


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "phi3", "mixtral", "gemma3_text", "gpt_neox"])
def test_the_facts_of_a_type_are_those_of_its_class(model_type: str) -> None:
    known = json.loads(PATH.read_text(encoding="utf-8"))
    assert json.loads(json.dumps(entries.entry(model_type))) == known[model_type]


def test_what_holds_for_every_type_is_what_transformers_says() -> None:
    known = json.loads(PATH.read_text(encoding="utf-8"))
    assert json.loads(json.dumps(entries.legacy_entry())) == known[EVERY]


def test_nearly_every_type_that_continues_text_has_facts() -> None:
    found = {facts.model_type for facts in class_facts.every()}
    assert found <= set(models.TYPES)
    # The others need packages of their own, or have defaults that do not fit each other.
    assert len(found) > 0.9 * len(models.TYPES)
