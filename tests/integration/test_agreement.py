"""Before a model is downloaded, its headers are compared with its class, in a process of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from quantize_lib.architecture.tensors import TensorInfo
from quantize_lib.errors import SourceError
from quantize_lib.host.agreement import check_agreement
from quantize_lib.source.facts import ModelFacts
from quantize_lib.source.model_spec import ModelSpec
from tests.support.quantizing import model_facts
from tests.support.tiny_models import save_tiny

SPEC = ModelSpec(id="acme/mine", name="mine")


def before_download(name: str, folder: Path) -> ModelFacts:
    save_tiny(name, folder)
    return replace(model_facts(folder), download_bytes=1)


def test_headers_and_class_of_a_mixture_agree(tmp_path: Path) -> None:
    check_agreement(SPEC, before_download("mixtral", tmp_path / "mine"))


def test_a_tensor_that_is_another_thing_in_the_class_is_named(tmp_path: Path) -> None:
    facts = before_download("llama", tmp_path / "mine")
    name = "model.layers.0.self_attn.q_proj.weight"
    shapes = {**facts.tensors, name: replace(facts.tensors[name], shape=(64, 128))}
    with pytest.raises(SourceError, match=r"^acme/mine: .*q_proj") as caught:
        check_agreement(SPEC, replace(facts, tensors=shapes))
    assert caught.value.hint is not None
    missed = replace(facts, layers=facts.layers[1:])
    with pytest.raises(SourceError, match=facts.layers[0].tensor):
        check_agreement(SPEC, missed)


def test_a_model_that_lies_here_is_left_to_the_process_that_quantizes(tmp_path: Path) -> None:
    facts = before_download("llama", tmp_path / "mine")
    wrong = TensorInfo(name="model.layers.0.more.weight", dtype="F32", shape=(8, 8), file="model.safetensors")
    check_agreement(SPEC, replace(facts, tensors={**facts.tensors, wrong.name: wrong}, download_bytes=0))
