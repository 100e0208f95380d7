"""One pass is one pass: five cells cost the calibration text one forward through each block."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from quantize_lib.engine.block import BlockInput
from quantize_lib.engine.linears import Linear
from quantize_lib.engine.methods.base import Rounding
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.shared_pass import SharedPass
from quantize_lib.engine.statistics import StatisticsCollector
from quantize_lib.errors import EngineError
from quantize_lib.formats.rounded import Grid
from quantize_lib.methods import Settings
from quantize_lib.source.facts import ModelFacts
from tests.support.families import LAYERS, VOCABULARY, save_family
from tests.support.passes import Memory, works
from tests.support.quantizing import Silent, model_facts
from tests.support.rounding import Recording, record

FIVE: list[tuple[str, int]] = [
    ("gptq", 4),
    ("gptq", 8),
    ("awq", 4),
    ("bitsandbytes", 4),
    ("bitsandbytes", 8),
]
SAMPLES, LENGTH = 24, 128
BATCHES = 2
"""24 sequences of 128 tokens; 2,048 tokens go through a block at once on a CPU."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama. Read only."""
    return save_family("llama", tmp_path_factory.mktemp("one-pass") / "base")


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The block and the batch size of every forward of a decoder layer."""
    seen: list[tuple[int, int]] = []
    original = LlamaDecoderLayer.forward

    def counted(self: LlamaDecoderLayer, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.append((self.self_attn.layer_idx, hidden_states.shape[0]))
        return original(self, hidden_states, *args, **kwargs)

    monkeypatch.setattr(LlamaDecoderLayer, "forward", counted)
    return seen


def streamed(base: Path) -> tuple[StreamedModel, ModelFacts]:
    facts = model_facts(base)
    return StreamedModel(base, facts, device=torch.device("cpu")), facts


def text(samples: int = SAMPLES) -> Tensor:
    return torch.randint(3, VOCABULARY, (samples, LENGTH), generator=torch.Generator().manual_seed(5))


def test_five_cells_take_one_forward_for_each_block_and_batch(
    base: Path, forwards: list[tuple[int, int]]
) -> None:
    model, facts = streamed(base)
    cells = works(facts, FIVE, effort="fast")
    outcome = SharedPass(model, cells, calibration=text(), evaluation=None, sample=0, reporter=Silent()).run()
    assert all(cell.error is None for cell in outcome.cells.values())
    once = [size for block, size in forwards if block == 1]
    assert once == [16, 8]
    assert len(once) == BATCHES
    # In the first block AWQ's folds are proven, once for all blocks that are built alike.
    assert [size for block, size in forwards if block == 0][:BATCHES] == [16, 8]


def test_with_standard_effort_text_goes_through_a_block_once_more_for_each_cell_and_never_for_the_base(
    base: Path, forwards: list[tuple[int, int]]
) -> None:
    model, facts = streamed(base)
    cells = works(facts, [("gptq", 4), ("awq", 4), ("gptq", 8), ("bitsandbytes", 4)])
    SharedPass(model, cells, calibration=text(), evaluation=None, sample=0, reporter=Silent()).run()
    # The calibration, and each cell's way that makes up for errors.
    assert [size for block, size in forwards if block == 1] == [16, 8] * 3


def test_standard_effort_changes_nothing_in_front_of_the_first_quantized_layers(base: Path) -> None:
    made: dict[str, Mapping[str, Tensor]] = {}
    for effort in ("fast", "standard"):
        model, facts = streamed(base)
        (cell,) = works(facts, [("gptq", 4)], effort=effort)
        shared = SharedPass(model, [cell], calibration=text(), evaluation=None, sample=0, reporter=Silent())
        assert shared.run().cells["gptq-4"].error is None
        made[effort] = cast(Memory, cell.sink).tensors
    same = {name for name, tensor in made["fast"].items() if torch.equal(tensor, made["standard"][name])}
    # The input of these is that of the base model.
    first = {f"model.layers.0.self_attn.{part}_proj.qweight" for part in "qkv"}
    assert {name for name in same if name.endswith(".qweight")} == first


def test_a_block_is_calibrated_while_the_one_before_is_quantized_and_makes_the_same_bytes(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated: list[int] = []
    load = StreamedModel.load_block

    def noted(self: StreamedModel, index: int) -> nn.Module:
        calibrated.append(index)
        return load(self, index)

    monkeypatch.setattr(StreamedModel, "load_block", noted)
    seen: list[int] = []

    class Slow(Recording):
        def begin(self, block: BlockInput, settings: Settings, grid: Grid) -> Rounding:
            deadline = time.monotonic() + 60
            while len(calibrated) < min(block.index + 2, LAYERS):
                assert time.monotonic() < deadline, "the next block was not begun"
                time.sleep(0.001)
            seen.append(len(calibrated))
            return super().begin(block, settings, grid)

    made: list[tuple[dict[str, Tensor], Mapping[str, Tensor]]] = []
    for ahead in (False, True):
        model, facts = streamed(base)
        cells = works(facts, FIVE)
        if ahead:
            calibrated.clear()
        shared = SharedPass(
            model,
            cells,
            calibration=text(),
            evaluation=text(2),
            sample=0,
            reporter=Silent(),
            ahead=ahead,
        )
        if ahead:
            record(shared, Slow, cell="gptq-4")
        outcome = shared.run()
        assert all(cell.error is None for cell in outcome.cells.values())
        tensors = {
            f"{cell.id}:{name}": tensor
            for cell in cells
            for name, tensor in cast(Memory, cell.sink).tensors.items()
        }
        made.append((tensors, outcome.cells["gptq-4"].tokens))
    assert seen == [*range(2, LAYERS + 1), LAYERS]
    (alone, tokens), (beside, tokens_beside) = made
    assert alone.keys() == beside.keys()
    assert all(torch.equal(tensor, beside[name]) for name, tensor in alone.items())
    assert tokens
    assert all(torch.equal(values, tokens_beside[name]) for name, values in tokens.items())


def test_what_the_calibration_meets_ahead_ends_the_pass_after_the_blocks_before(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, facts = streamed(base)
    cells = works(facts, [("gptq", 4)])
    original = StreamedModel.load_block

    def damaged(self: StreamedModel, index: int) -> nn.Module:
        block = original(self, index)
        if index == LAYERS - 1:
            next(block.parameters()).data.fill_(float("nan"))
        return block

    monkeypatch.setattr(StreamedModel, "load_block", damaged)
    spoilt = SharedPass(
        model, cells, calibration=text(), evaluation=None, sample=0, reporter=Silent(), ahead=True
    )
    recordings = record(spoilt)
    with pytest.raises(EngineError, match=rf"model\.layers\.{LAYERS - 1} gives NaN"):
        spoilt.run()
    assert list(recordings["gptq-4"].outputs) == list(range(LAYERS - 1))


def test_without_folds_to_prove_four_cells_take_blocks_times_batches(
    base: Path, forwards: list[tuple[int, int]]
) -> None:
    model, facts = streamed(base)
    cells = works(facts, [cell for cell in FIVE if cell[0] != "awq"], effort="fast")
    SharedPass(model, cells, calibration=text(), evaluation=None, sample=0, reporter=Silent()).run()
    assert len(forwards) == LAYERS * BATCHES
    assert sum(size for _, size in forwards) == LAYERS * SAMPLES


def test_held_out_text_goes_once_through_the_base_and_once_through_each_cell(
    base: Path, forwards: list[tuple[int, int]]
) -> None:
    model, facts = streamed(base)
    cells = works(facts, [("bitsandbytes", 4), ("bitsandbytes", 8)])
    SharedPass(model, cells, calibration=None, evaluation=text(3), sample=0, reporter=Silent()).run()
    assert [size for _, size in forwards] == [1] * (3 * LAYERS * (1 + len(cells)))


def test_statistics_are_those_of_the_inputs_and_shared_where_the_input_is(base: Path) -> None:
    """Against X collected by transformers' own model, block after block."""
    model, _ = streamed(base)
    ids = text(4)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    inputs: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            inputs[name] = args[0].reshape(-1, args[0].shape[-1]).double()

        return hook

    block_name = "model.layers.0."
    names = [n for n, m in plain.named_modules() if n.startswith(block_name) and isinstance(m, nn.Linear)]
    for name in names:
        plain.get_submodule(name).register_forward_pre_hook(keep(name))
    with torch.inference_mode():
        plain(input_ids=ids)
        with model.outer():
            hidden, calls = model.embed(ids)
        block = model.load_block(0)
        relative = [name.removeprefix(block_name) for name in names]
        linears = {name: Linear(name=name, module=block.get_submodule(name)) for name in relative}
        collector = StatisticsCollector(linears)
        for part in hidden.split(2):
            with collector.collecting():
                calls[0](block, part)
        statistics = collector.finish()

    assert len(statistics) == 7
    assert len({id(one) for one in statistics.values()}) == 4
    q, k, v = (statistics[f"self_attn.{name}_proj"] for name in "qkv")
    assert q is k is v
    assert statistics["mlp.gate_proj"] is statistics["mlp.up_proj"]
    for name in names:
        x, one = inputs[name], statistics[name.removeprefix(block_name)]
        assert one.tokens == 4 * LENGTH
        torch.testing.assert_close(one.hessian.double(), x.T @ x / x.shape[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(one.mean_abs.double(), x.abs().mean(0), rtol=1e-4, atol=1e-6)


def test_every_cell_gets_the_same_statistics_objects(base: Path) -> None:
    model, facts = streamed(base)
    seen: dict[str, list[int]] = {}

    class Looking(Recording):
        def begin(self, block: BlockInput, settings: Settings, grid: Grid) -> Rounding:
            for name, linear in block.linears.items():
                if linear.statistics is not None:
                    seen.setdefault(f"{block.index}.{name}", []).append(id(linear.statistics))
            return super().begin(block, settings, grid)

    cells = works(facts, [("gptq", 4), ("gptq", 8)])
    shared = SharedPass(model, cells, calibration=text(2), evaluation=None, sample=0, reporter=Silent())
    record(shared, Looking)
    shared.run()
    assert len(seen) == 7 * LAYERS
    assert all(len(ids) == 2 and len(set(ids)) == 1 for ids in seen.values())


def test_a_block_is_read_when_its_turn_comes_and_no_sooner(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, facts = streamed(base)
    read: list[str] = []
    original = StreamedModel.read

    def noted(self: StreamedModel, names: Any) -> Any:
        wanted = list(names)
        read.extend(wanted)
        return original(self, wanted)

    reads_at: dict[int, set[str]] = {}

    class Looking(Recording):
        def begin(self, block: BlockInput, settings: Settings, grid: Grid) -> Rounding:
            reads_at[block.index] = {name.split(".")[2] for name in read if name.startswith("model.layers.")}
            return super().begin(block, settings, grid)

    monkeypatch.setattr(StreamedModel, "read", noted)
    cells = works(facts, [("bitsandbytes", 8)])
    shared = SharedPass(model, cells, calibration=None, evaluation=None, sample=0, reporter=Silent())
    record(shared, Looking)
    shared.run()
    assert reads_at == {index: {str(i) for i in range(index + 1)} for index in range(LAYERS)}
    inside = dict(model._model.named_parameters())
    assert all(parameter.is_meta for parameter in inside.values())
    assert all(parameter.is_meta for block in model._originals for parameter in block.parameters())
