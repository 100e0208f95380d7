"""A head beside the embedding that it is said to be tied to: compared, and kept where the two differ."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from quantize_lib.engine import tied_head
from quantize_lib.engine.tied_head import settle_head
from quantize_lib.errors import SourceError
from quantize_lib.source import read_facts
from quantize_lib.source.facts import ModelFacts
from quantize_lib.source.model_spec import ModelSpec
from tests.support.model_files import LLAMA, write_model

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
TIED = LLAMA | {"tie_word_embeddings": True}


def facts_of(folder: Path) -> ModelFacts:
    return read_facts(ModelSpec(id="./m", name="m", local=folder), folder, revision="r")


def with_heads(folder: Path, embedding: torch.Tensor, head: torch.Tensor) -> Path:
    file = write_model(folder, TIED) / "model.safetensors"
    tensors = load_file(file)
    save_file(tensors | {EMBEDDING: embedding, HEAD: head}, file)
    return folder


@pytest.fixture(autouse=True)
def in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tied_head, "_PIECE", 5 * 96)


def test_an_equal_head_is_tied_and_stored_once(tmp_path: Path) -> None:
    values = torch.randn(64, 96)
    facts = facts_of(with_heads(tmp_path, values.bfloat16(), values.bfloat16()))
    settled = settle_head(tmp_path, facts)
    assert settled.tensors.keys() == facts.tensors.keys() - {HEAD}
    assert (settled.config, settled.notes) == (TIED, ())


def test_equal_values_in_another_dtype_are_equal(tmp_path: Path) -> None:
    values = torch.randn(64, 96).bfloat16()
    assert HEAD not in settle_head(tmp_path, facts_of(with_heads(tmp_path, values, values.float()))).tensors


@pytest.mark.parametrize("row", [0, 4, 5, 63])
def test_a_head_that_differs_in_one_value_is_kept_and_untied(tmp_path: Path, row: int) -> None:
    values = torch.randn(64, 96).bfloat16()
    head = values.clone()
    head[row, -1] += 1
    facts = facts_of(with_heads(tmp_path, values, head))
    settled = settle_head(tmp_path, facts)
    assert settled.tensors == facts.tensors
    assert settled.config == LLAMA | {"tie_word_embeddings": False}
    assert settled.notes == (
        f"{HEAD} differs from {EMBEDDING}, though the config ties the two: both are kept, as transformers "
        "does, and the checkpoint's config says tie_word_embeddings: false",
    )


def test_the_two_are_found_in_several_shards(tmp_path: Path) -> None:
    folder = write_model(tmp_path, TIED, shards=3)
    facts = facts_of(folder)
    assert facts.tensors[HEAD].file != facts.tensors[EMBEDDING].file
    assert HEAD not in settle_head(folder, facts).tensors


def test_other_models_stay_as_they_are(tmp_path: Path) -> None:
    facts = facts_of(write_model(tmp_path))
    assert settle_head(tmp_path, facts) is facts


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    facts = facts_of(with_heads(tmp_path, torch.zeros(64, 96), torch.zeros(64, 96)))
    (tmp_path / "model.safetensors").write_bytes(json.dumps({}).encode())
    with pytest.raises(SourceError, match=r"model\.safetensors cannot be read"):
        settle_head(tmp_path, facts)
