"""Cells that round embedding and output layer are measured one after the other: one holds them at a time."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from quantize_lib.engine.measure import measure
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.pass_state import CarriedText
from tests.support.quantizing import Silent, model_facts
from tests.support.small_runs import save_tiny_model

HEAD = "lm_head.weight"
IDS = torch.randint(3, 500, (3, 16), generator=torch.Generator().manual_seed(1))


def test_each_cells_tensors_are_gone_before_the_next_ones_are_made_and_count_for_it_alone(
    tmp_path: Path, calibration_text: Path
) -> None:
    base = save_tiny_model(tmp_path / "tiny", calibration_text)
    model = StreamedModel(base, model_facts(base), device=torch.device("cpu"))
    text = CarriedText(IDS, 1)
    with model.outer():
        text.embed(model, list)
        head = dict(model.read([HEAD]))[HEAD].to(model.compute_dtype)
    alive: list[weakref.ref[Tensor]] = []

    def made(scale: float) -> Callable[[], Mapping[str, Tensor]]:
        def make() -> Mapping[str, Tensor]:
            gc.collect()
            assert not [one for one in alive if one() is not None]
            value = head * scale
            alive.append(weakref.ref(value))
            return {HEAD: value}

        return make

    carried = dict.fromkeys(("same", "twice", "plain"), text.hidden)
    outside = {"same": made(1.0), "twice": made(2.0)}
    found = measure(model, text, carried, outside=outside, sample=1, reporter=Silent()).cells
    assert len(alive) == 2
    assert found["same"]["kl_divergence"].abs().max() < 1e-6
    assert torch.equal(found["same"]["perplexity"], found["plain"]["perplexity"])
    assert found["twice"]["kl_divergence"].mean() > 0.01
    assert found["twice"]["kl_divergence"].shape == (3, 15)
