"""Mixtures of experts through the shared pass: expert after expert, each as if it were alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from quantize_lib.engine.cell_work import PassOutcome
from quantize_lib.engine.linears import find_linears
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.shared_pass import SharedPass
from tests.support.passes import Memory, works
from tests.support.quantizing import Silent, model_facts
from tests.support.rounding import Recording, record
from tests.support.tiny_models import RESERVED, VOCABULARY, save_tiny


@pytest.fixture(scope="module", params=["qwen3_moe", "mixtral", "llama4_text"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random mixture. Read only."""
    return save_tiny(request.param, tmp_path_factory.mktemp(request.param) / "base")


def _text(samples: int) -> Tensor:
    return torch.randint(RESERVED, VOCABULARY, (samples, 32), generator=torch.Generator().manual_seed(5))


def _run(
    base: Path,
    cells: list[tuple[str, int]],
    *,
    samples: int = 8,
    ahead: bool = False,
    evaluation: bool = True,
) -> tuple[dict[str, dict[str, Tensor]], PassOutcome, dict[str, Recording]]:
    facts = model_facts(base)
    work = works(facts, cells)
    shared = SharedPass(
        StreamedModel(base, facts, device=torch.device("cpu")),
        work,
        calibration=_text(samples),
        evaluation=_text(2) if evaluation else None,
        sample=0,
        reporter=Silent(),
        ahead=ahead,
    )
    recordings = record(shared)
    outcome = shared.run()
    assert all(cell.error is None for cell in outcome.cells.values())
    return {one.id: cast(Memory, one.sink).tensors for one in work}, outcome, recordings


def test_a_cell_of_a_mixture_comes_out_alike_behind_another_and_alone_and_ahead(base: Path) -> None:
    behind, _, _ = _run(base, [("gptq", 4), ("awq", 4)])
    alone, _, _ = _run(base, [("awq", 4)], evaluation=False, ahead=True)
    one, other = alone["awq-4"], behind["awq-4"]
    assert list(one) == list(other)
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_every_expert_is_written_under_its_name_on_disk_and_counted(base: Path) -> None:
    facts = model_facts(base)
    tensors, outcome, _ = _run(base, [("gptq", 4)], samples=2)
    layers = {layer.name for layer in facts.layers}
    codes = (".qweight", ".weight_packed")
    packed = {name.rpartition(".")[0] for name in tensors["gptq-4"] if name.endswith(codes)}
    assert packed == layers
    assert not tensors["gptq-4"].keys() & {layer.tensor for layer in facts.layers}
    assert outcome.cells["gptq-4"].errors.keys() == layers
    experts = {layer.name.rpartition(".")[0] for layer in facts.layers if ".experts." in layer.name}
    tally = outcome.cells["gptq-4"].experts
    assert tally is not None
    assert (tally.count, tally.borrowing) == (len(experts), len(experts))
    assert tally.name in experts
    assert tally.sentence() in outcome.cells["gptq-4"].notes


def test_awq_says_how_many_layers_have_no_place_to_undo_scales(base: Path) -> None:
    _, outcome, _ = _run(base, [("awq", 4)])
    cell = outcome.cells["awq-4"]
    assert cell.unscaled > 0
    assert any(note.startswith(f"the inputs of {cell.unscaled} of ") for note in cell.notes)


def test_held_out_text_sees_what_the_rounded_experts_compute(base: Path) -> None:
    _, outcome, recordings = _run(base, [("gptq", 4)])
    model: nn.Module = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    blocks = cast(nn.ModuleList, model.get_submodule("model.layers"))
    ids = _text(2)
    with torch.inference_mode():
        for index, rounded in recordings["gptq-4"].outputs.items():
            linears = find_linears(blocks[index])
            for name, layer in rounded.layers.items():
                linears[name].view.copy_(layer.weight)
        logits = model(ids).logits
        losses = nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
        ).view(2, -1)
    torch.testing.assert_close(outcome.cells["gptq-4"].tokens["perplexity"], losses, rtol=1e-3, atol=1e-3)


def test_experts_that_share_a_tensor_with_quantized_ones_are_written_on_their_own(tmp_path: Path) -> None:
    base = save_tiny("llama4_text", tmp_path / "base", sizes={"num_hidden_layers": 2})
    facts = model_facts(base)
    (work,) = works(facts, [("gptq", 4)])
    kept = "model.layers.1.feed_forward.experts.2.up_proj"
    work = replace(work, layers={name: value for name, value in work.layers.items() if name != kept})
    SharedPass(
        StreamedModel(base, facts, device=torch.device("cpu")),
        [work],
        calibration=_text(2),
        evaluation=None,
        sample=0,
        reporter=Silent(),
    ).run()
    written = cast(Memory, work.sink).tensors
    (layer,) = (layer for layer in facts.layers if layer.name == kept)
    whole = load_file(base / "model.safetensors")[layer.tensor]
    assert torch.equal(written[f"{kept}.weight"], whole[2].T[layer.out_features :])
    assert layer.tensor not in written
