"""Cells that differ only in their format are rounded and measured once, and come out as each alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from quantize_lib.engine.cell_work import CellWork, PassOutcome
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.pass_state import CarriedText
from quantize_lib.engine.shared_pass import SharedPass
from quantize_lib.errors import CheckpointError
from quantize_lib.methods import Settings
from quantize_lib.source.facts import ModelFacts
from tests.support import passes
from tests.support.families import LAYERS, VOCABULARY, save_family
from tests.support.passes import Memory
from tests.support.quantizing import Silent, model_facts

FORMATS = ("gptq", "compressed-tensors")


class Failing(Memory):
    """Has room for so many writes."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def write(self, tensors: Mapping[str, Tensor]) -> None:
        if not self._room:
            raise CheckpointError("the disk is full")
        self._room -= 1
        super().write(tensors)

    def discard(self) -> None:
        self.tensors.clear()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama. Read only."""
    return save_family("llama", tmp_path_factory.mktemp("alike") / "base")


@pytest.fixture
def carried(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The block of every time that held-out text is carried through one."""
    seen: list[int] = []
    original = CarriedText.advance

    def noted(self: CarriedText, block: torch.nn.Module, index: int, hidden: list[Tensor]) -> None:
        if len(hidden) == len(text(1)):
            seen.append(index)
        original(self, block, index, hidden)

    monkeypatch.setattr(CarriedText, "advance", noted)
    return seen


def text(seed: int) -> Tensor:
    return torch.randint(3, VOCABULARY, (3, 64), generator=torch.Generator().manual_seed(seed))


def work(facts: ModelFacts, chosen: str, sink: Memory, *, bits: int = 4) -> CellWork:
    # As a manifest has them: the other format takes no such settings.
    own = {"sym": True, "desc_act": False} if chosen == "gptq" else {}
    settings = Settings(method="gptq", bits=bits, format=chosen, own=own)
    return passes.work(facts, settings, sink, cell_id=f"{chosen}-{bits}")


def run(base: Path, asked: Sequence[tuple[str, Memory]], *, bits: Sequence[int] = (4,)) -> PassOutcome:
    facts = model_facts(base)
    cells = [work(facts, chosen, sink, bits=one) for one in bits for chosen, sink in asked]
    model = StreamedModel(base, facts, device=torch.device("cpu"))
    shared = SharedPass(model, cells, calibration=text(0), evaluation=text(1), sample=0, reporter=Silent())
    return shared.run()


def same(one: Memory, other: Memory) -> bool:
    return all(torch.equal(one.tensors[name], value) for name, value in other.tensors.items())


def test_two_formats_of_the_same_codes_take_one_way_through_the_blocks_and_come_out_as_alone(
    base: Path, carried: list[int]
) -> None:
    alone = {chosen: Memory() for chosen in FORMATS}
    figures = {chosen: run(base, [(chosen, sink)]).cells[f"{chosen}-4"] for chosen, sink in alone.items()}
    carried.clear()
    together = {chosen: Memory() for chosen in FORMATS}
    outcome = run(base, list(together.items()))
    # The base model's way, and one for both.
    assert len(carried) == 2 * LAYERS
    for chosen in FORMATS:
        assert together[chosen].tensors.keys() == alone[chosen].tensors.keys()
        assert same(alone[chosen], together[chosen])
        cell, own = outcome.cells[f"{chosen}-4"], figures[chosen]
        assert (cell.errors, cell.notes) == (own.errors, own.notes)
        assert all(torch.equal(values, own.tokens[name]) for name, values in cell.tokens.items())
        assert cell.seconds > 0


def test_other_bits_are_another_way(base: Path, carried: list[int]) -> None:
    run(base, [("gptq", Memory())], bits=(4, 8))
    assert len(carried) == 3 * LAYERS


@pytest.mark.parametrize("first", FORMATS)
@pytest.mark.parametrize("room", [1, 4, 100])
def test_where_one_cannot_be_written_the_other_is_finished(base: Path, first: str, room: int) -> None:
    alone, beside = Memory(), Memory()
    (other,) = (chosen for chosen in FORMATS if chosen != first)
    figures = run(base, [(other, alone)]).cells[f"{other}-4"]
    outcome = run(base, [(first, Failing(room)), (other, beside)])
    if room < 100:
        assert outcome.cells[f"{first}-4"].error is not None
    cell = outcome.cells[f"{other}-4"]
    assert cell.error is None
    assert same(alone, beside)
    assert all(torch.equal(values, figures.tokens[name]) for name, values in cell.tokens.items())


def test_where_none_can_be_written_others_go_on(base: Path) -> None:
    facts = model_facts(base)
    kept = Memory()
    cells = [work(facts, chosen, Failing(2)) for chosen in FORMATS]
    cells.append(work(facts, "gptq", kept, bits=8))
    model = StreamedModel(base, facts, device=torch.device("cpu"))
    shared = SharedPass(model, cells, calibration=text(0), evaluation=text(1), sample=0, reporter=Silent())
    outcome = shared.run()
    assert [cell.error is None for cell in outcome.cells.values()] == [False, False, True]
    assert kept.tensors
