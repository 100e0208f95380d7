"""Models whose text does not go from block to block are refused from config and headers alone."""

from __future__ import annotations

import pytest

from quantize_lib.architecture.structure import lists_of_blocks
from quantize_lib.architecture.tensors import TensorInfo
from quantize_lib.architecture.walk import check_walk
from quantize_lib.errors import SourceError


def tensors(*names: str) -> dict[str, TensorInfo]:
    return {
        name: TensorInfo(name=name, dtype="F32", shape=(64, 64), file="model.safetensors") for name in names
    }


def test_lists_of_plain_layers_and_of_other_senses_are_no_lists_of_blocks() -> None:
    found = lists_of_blocks(
        tensors(
            *(f"model.layers.{index}.{part}.weight" for index in range(2) for part in ("q_proj", "o_proj")),
            *(f"model.altup_projections.{index}.weight" for index in range(3)),
            *(f"vision_tower.layers.0.{part}.weight" for part in ("q_proj", "o_proj")),
        )
    )
    assert found == {"model.layers": 4}


def test_a_model_with_two_lists_of_blocks_is_refused_and_one_with_a_small_part_beside_is_not() -> None:
    with pytest.raises(SourceError, match=r"HRM cannot be taken .* several lists of them \(h and l\)"):
        check_walk("HRM", "hrm_text", "h", {"h": 16, "l": 16})
    check_walk("Own", "own", "layers", {"layers": 64, "resampler": 12})


def test_a_type_whose_code_alone_shows_it_is_refused_with_the_reason() -> None:
    with pytest.raises(SourceError, match="reads what all before it returned"):
        check_walk("Inkling2ForCausalLM", "inkling2_text", "layers", {"layers": 64})
