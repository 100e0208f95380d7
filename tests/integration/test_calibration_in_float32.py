"""A block whose class computes in float32 alone is calibrated in it on a CPU with units for bfloat16, too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaMLP

from quantize_lib.engine import precision
from tests.support.families import LAYERS, save_family
from tests.support.quantizing import made_in_one_pass


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama. Read only."""
    return save_family("llama", tmp_path_factory.mktemp("float32") / "base")


@pytest.fixture(autouse=True)
def adding(monkeypatch: pytest.MonkeyPatch) -> None:
    """As DBRX, it adds what it computes to zeros of the type that its input has."""

    def forward(self: LlamaMLP, states: Tensor) -> Tensor:
        made = self.down_proj(self.act_fn(self.gate_proj(states)) * self.up_proj(states))
        total = torch.zeros_like(states).flatten(0, -2)
        total.index_add_(0, torch.arange(len(total)), made.flatten(0, -2))
        return total.view_as(states)

    monkeypatch.setattr(LlamaMLP, "forward", forward)


def _made(base: Path, effort: str) -> Mapping[str, Tensor]:
    return made_in_one_pass(base, [("gptq", 4)], effort=effort)[0]["gptq-4"]


def test_it_makes_what_it_makes_on_a_cpu_without_such_units(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for units in (False, True):
        monkeypatch.setattr(precision, "_has_bfloat16_units", lambda units=units: units)
        made.append(_made(base, "fast"))
    plain, halved = made
    assert plain.keys() == halved.keys()
    assert all(torch.equal(tensor, halved[name]) for name, tensor in plain.items())


def test_cells_make_up_for_errors_there(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_has_bfloat16_units", lambda: True)
    fast, standard = (_made(base, effort) for effort in ("fast", "standard"))
    last = f"model.layers.{LAYERS - 1}.mlp.down_proj.qweight"
    assert not torch.equal(fast[last], standard[last])
