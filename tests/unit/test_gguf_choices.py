"""Types that tensors get of their own: what there is to choose, how much room, and what the file then is."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.architecture.assignment import stored_types
from quantize_lib.errors import EngineError, SourceError, UsageError
from quantize_lib.formats import Traits, get_format, resolve_format
from quantize_lib.gguf_file.choices import CHOICES, choices_for, file_type_of
from quantize_lib.gguf_file.types import BLOCKS, file_number
from quantize_lib.methods import Settings, settings_of
from quantize_lib.plan.automatic_bits import choice_of
from quantize_lib.plan.estimate import checkpoint_bytes
from tests.support.down_projections import named_facts, save_letters

DOWN = "model.layers.0.mlp.down_proj"
EMBEDDING = "model.embed_tokens"


def settings(**own: Any) -> Settings:
    return Settings(method="gguf", bits=4, own={"type": "auto", **own})


def test_types_are_listed_from_the_smallest_to_the_largest() -> None:
    sizes = [BLOCKS[name][1] / BLOCKS[name][0] for name in CHOICES]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize(
    ("columns", "kinds"),
    [
        (1536, ("Q2_K", "Q3_K", "IQ4_XS", "Q4_K", "Q5_K", "Q6_K", "Q8_0")),
        (576, ("IQ4_NL", "Q5_0", "Q5_1", "Q8_0")),
        (80, ()),
    ],
)
def test_a_matrix_may_have_the_types_whose_blocks_its_rows_fit_into(
    columns: int, kinds: tuple[str, ...]
) -> None:
    assert choices_for(columns) == kinds


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        (["Q5_0", "Q5_0", "Q6_K"], "Q5_0"),
        (["Q4_K", "Q4_K", "Q6_K"], "Q4_K_M"),
        (["F16", "IQ4_NL", "IQ4_NL"], "IQ4_NL"),
    ],
)
def test_a_file_says_that_it_is_what_most_of_its_tensors_are(kinds: list[str], said: str) -> None:
    assert file_type_of(kinds) == said


@pytest.mark.parametrize("kind", [*CHOICES, "F16"])
def test_every_type_that_most_tensors_may_have_is_one_of_a_file(kind: str) -> None:
    assert file_number(file_type_of([kind])) > 0


def test_the_embedding_is_among_what_is_chosen_and_counted() -> None:
    choice = choice_of(named_facts(2), settings(target_bits=5))
    assert set(choice.sizes) == {EMBEDDING, DOWN, "model.layers.1.mlp.down_proj"}
    assert choice.sizes[EMBEDDING]["Q8_0"] == 100 * 576 // 32 * 34
    assert choice.room == 5 * (100 * 576 + 2 * 1536 * 576) // 8


def test_a_size_is_that_of_the_whole_file() -> None:
    choice = choice_of(named_facts(2), settings(target_size="1 MB"))
    # Names and places of the tensors, and the vocabulary.
    assert 4000 < choice.kept < 5000
    assert choice.room == 1_000_000 - choice.kept
    assert checkpoint_bytes(settings(target_size="1 MB"), named_facts(2), -1) == 1_000_000


def test_more_than_the_largest_type_takes_is_not_counted() -> None:
    most = checkpoint_bytes(settings(target_size="1 GB"), named_facts(2), -1)
    eight = Settings(method="gguf", bits=8, own={"type": "Q8_0"})
    assert most == checkpoint_bytes(eight, named_facts(2), -1)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"target_bits": 2}, r"target_bits 2: .* it is 2\.69"),
        ({"target_size": "100 kB"}, r"target_size 100 kB: .* it is 617\.3 kB"),
    ],
)
def test_what_no_types_can_meet_is_refused_with_what_is_possible(own: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        choice_of(named_facts(2), settings(**own))


def test_layers_that_are_to_stay_as_they_are_are_no_part_of_the_choice() -> None:
    kept = replace(settings(target_bits=5), modules_to_not_convert=("*.0.mlp.down_proj",))
    assert set(choice_of(named_facts(2), kept).sizes) == {EMBEDDING, "model.layers.1.mlp.down_proj"}


def test_tensors_are_stored_in_the_types_that_were_chosen() -> None:
    types = dict.fromkeys(
        (f"{name}.weight" for name in choice_of(named_facts(2), settings(target_bits=5)).sizes), "Q8_0"
    )
    chosen = replace(settings(target_bits=5), types=types)
    assert stored_types(named_facts(2), chosen) == types
    assert get_format("gguf").part(chosen) == "auto-5bit"


@pytest.mark.parametrize("own", [{"target_bits": 2}, {"target_size": "100 kB"}])
def test_what_is_named_as_possible_is(own: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as refused:
        choice_of(named_facts(2), settings(**own))
    possible = re.search(r"it is ([\d.]+( [kM]B)?)", str(refused.value))
    assert possible is not None
    (key,) = own
    choice_of(named_facts(2), settings(**{key: possible[1] if key == "target_size" else float(possible[1])}))


def test_where_the_base_model_lies_the_vocabulary_is_measured_and_not_estimated(tmp_path: Path) -> None:
    estimated = choice_of(named_facts(2), settings(target_size="1 MB"))
    exact = choice_of(named_facts(2), settings(target_size="1 MB"), save_letters(tmp_path / "base"))
    assert exact.sizes == estimated.sizes
    assert exact.kept != estimated.kept
    assert exact.room + exact.kept == 1_000_000


def test_a_base_model_whose_vocabulary_no_file_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="the tokenizer cannot be put into a GGUF file"):
        choice_of(named_facts(2), settings(target_size="1 MB"), tmp_path)


def test_programs_that_find_types_by_their_names_are_given_the_name_of_the_file() -> None:
    files = {"Q8_0": "m-Q8_0.gguf", "auto-4.5bit": "m-auto-4.5bit.gguf"}
    (_, llama), (_, ollama) = get_format("gguf").parts_loaded("acme/m-gguf", files, "Once")
    assert llama.splitlines() == [
        "llama-cli -hf acme/m-gguf:Q8_0 -p Once",
        "llama-cli -hf acme/m-gguf:auto-4.5bit -p Once",
    ]
    assert ollama.splitlines() == [
        "ollama run hf.co/acme/m-gguf:Q8_0",
        "ollama run hf.co/acme/m-gguf:m-auto-4.5bit.gguf",
    ]


def test_a_mixture_whose_experts_are_one_tensor_of_the_file_is_refused() -> None:
    mixture = Traits(model_type="mixtral", experts=True)
    assert resolve_format(settings_of("gguf", 8, {"type": "Q8_0"}), mixture).name == "gguf"
    with pytest.raises(SourceError, match="the experts of a block are one tensor of the file"):
        resolve_format(settings(target_bits=5), mixture)


@pytest.mark.parametrize(("dtype", "size"), [("BF16", 2), ("F32", 4)])
def test_what_stays_as_it_is_takes_its_room_in_the_dtype_that_it_has_on_disk(dtype: str, size: int) -> None:
    found = named_facts(2)
    tensors = {name: replace(info, dtype=dtype) for name, info in found.tensors.items()}
    kept = replace(settings(target_size="9 MB"), modules_to_not_convert=("*.0.mlp.down_proj",))
    more, less = (
        choice_of(replace(found, tensors=tensors), one) for one in (kept, settings(target_size="9 MB"))
    )
    assert more.kept - less.kept == 1536 * 576 * size
