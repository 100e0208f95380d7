"""Effort `best` at up to 3 bits learns the scales of a block from what the base's block returns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaMLP

from quantize_lib.engine import learned_scales
from quantize_lib.methods.columns import ColumnMethod
from tests.support.families import LAYERS, save_family
from tests.support.quantizing import made_in_one_pass

FIRST = "model.layers.0."


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama. Read only."""
    return save_family("llama", tmp_path_factory.mktemp("learned") / "base")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps show it as well as many."""
    monkeypatch.setattr(learned_scales, "STEPS", 8)


def without_learning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ColumnMethod, "learns_scales", lambda *_: False)


def test_codes_are_those_of_the_rounding_and_scales_are_others(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [("gptq", 3), ("awq", 3)]
    learned, _ = made_in_one_pass(base, cells, effort="best")
    without_learning(monkeypatch)
    plain, _ = made_in_one_pass(base, cells, effort="best")
    for cell, tensors in plain.items():
        ours = learned[cell]
        # What comes to the first block is the same.
        first = {name for name in tensors if name.startswith(FIRST) and not name.endswith("norm.weight")}
        scales = {name for name in first if name.endswith(("scale", "scales"))}
        assert scales
        assert not any(torch.equal(tensors[name], ours[name]) for name in scales)
        assert all(torch.equal(tensors[name], ours[name]) for name in first - scales)


def test_with_more_bits_or_less_effort_nothing_is_learned(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [([("gptq", 4), ("gptq", 8)], "best"), ([("gptq", 3), ("gptq", 2)], "standard")]
    now = [made_in_one_pass(base, cells, effort=effort)[0] for cells, effort in asked]
    without_learning(monkeypatch)
    for (cells, effort), before in zip(asked, now, strict=True):
        after, _ = made_in_one_pass(base, cells, effort=effort)
        for cell, tensors in before.items():
            assert all(torch.equal(tensor, after[cell][name]) for name, tensor in tensors.items())


def test_a_block_that_has_no_gradient_keeps_its_scales_and_says_so_once(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original: Any = LlamaMLP.forward

    def forward(self: LlamaMLP, states: Tensor) -> Tensor:
        made: Tensor = original(self, states)
        # What is changed afterwards was kept for the gradient of this product.
        squared = made * made
        made.add_(squared, alpha=0.1)
        return made

    monkeypatch.setattr(LlamaMLP, "forward", forward)
    learned, outcome = made_in_one_pass(base, [("gptq", 3)], effort="best")
    without_learning(monkeypatch)
    plain, _ = made_in_one_pass(base, [("gptq", 3)], effort="best")
    assert all(torch.equal(one, learned["gptq-3"][name]) for name, one in plain["gptq-3"].items())
    told = [note for note in outcome["gptq-3"].notes if "scales are not learned" in note]
    assert len(told) == 1 < LAYERS
