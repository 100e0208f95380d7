"""Several cells quantize a block at the same time."""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from quantize_lib.engine.base_states import BaseStates
from quantize_lib.engine.block import BlockInput
from quantize_lib.engine.calibrator import CalibratedBlock
from quantize_lib.engine.cell_work import PassOutcome
from quantize_lib.engine.lanes import Lanes, Work
from quantize_lib.engine.linears import find_linears
from quantize_lib.engine.methods.base import Rounding
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.shared_pass import SharedPass
from quantize_lib.errors import EngineError
from quantize_lib.formats.rounded import Grid
from quantize_lib.methods import Settings
from tests.support.families import LAYERS, VOCABULARY, save_family
from tests.support.passes import Memory, works
from tests.support.quantizing import Silent, model_facts
from tests.support.rounding import Recording, record

SIX = [("gptq", 4), ("awq", 4), ("gptq", 3), ("gptq", 8), ("bitsandbytes", 4), ("bitsandbytes", 8)]
PATIENCE = 60.0


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama. Read only."""
    return save_family("llama", tmp_path_factory.mktemp("lanes") / "base")


def _text(samples: int, seed: int) -> Tensor:
    return torch.randint(3, VOCABULARY, (samples, 128), generator=torch.Generator().manual_seed(seed))


def _made(
    base: Path, cells: list[tuple[str, int]], *, lanes: int, ahead: bool = False, together: bool = False
) -> tuple[PassOutcome, dict[str, Mapping[str, Tensor]]]:
    """What a pass makes.

    Args:
        together: no cell begins with a block before another one does.
    """
    meeting = threading.Barrier(2)

    class Meeting(Recording):
        def begin(self, block: BlockInput, settings: Settings, grid: Grid) -> Rounding:
            meeting.wait(PATIENCE)
            return super().begin(block, settings, grid)

    facts = model_facts(base)
    made = works(facts, cells)
    shared = SharedPass(
        StreamedModel(base, facts, device=torch.device("cpu")),
        made,
        calibration=_text(24, 5),
        evaluation=_text(2, 6),
        sample=1,
        reporter=Silent(),
        ahead=ahead,
        lanes=lanes,
    )
    if together:
        record(shared, Meeting)
    outcome = shared.run()
    return outcome, {cell.id: dict(cast(Memory, cell.sink).tensors) for cell in made}


@pytest.fixture(autouse=True)
def two_cores() -> Iterator[None]:
    """With one, cells take turns."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def test_two_cells_are_at_work_on_every_block_at_once(base: Path) -> None:
    outcome, tensors = _made(base, [("gptq", 4), ("awq", 4)], lanes=2, together=True)
    assert all(cell.error is None for cell in outcome.cells.values())
    assert all(f"model.layers.{LAYERS - 1}.mlp.down_proj.qweight" in made for made in tensors.values())


@pytest.mark.parametrize("ahead", [False, True])
def test_each_makes_the_bytes_and_has_the_figures_that_it_has_in_turn(base: Path, ahead: bool) -> None:
    (turn, alone), (beside, tensors) = (_made(base, SIX, lanes=lanes, ahead=ahead) for lanes in (1, 2))
    for cell, outcome in turn.cells.items():
        other = beside.cells[cell]
        assert (outcome.error, other.error) == (None, None)
        assert alone[cell].keys() == tensors[cell].keys()
        assert all(torch.equal(tensor, tensors[cell][name]) for name, tensor in alone[cell].items())
        assert outcome.errors == other.errors
        assert outcome.tokens.keys() == other.tokens.keys() != set()
        assert all(torch.equal(values, other.tokens[name]) for name, values in outcome.tokens.items())
    # Together the cells' seconds are no more than have passed.
    assert beside.shared_seconds > 0


def test_a_cell_alone_lets_go_of_what_it_has_seen_and_makes_the_same_bytes(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[BaseStates] = []
    original = BaseStates.watching

    def watching(states: BaseStates) -> AbstractContextManager[None]:
        if states not in seen:
            seen.append(states)
        return original(states)

    def left() -> list[bool]:
        kept = [bool(batch.inputs or batch.streams) for states in seen for batch in states.batches]
        seen.clear()
        return kept

    monkeypatch.setattr(BaseStates, "watching", watching)
    _, alone = _made(base, [("gptq", 4)], lanes=1)
    kept_alone = left()
    _, beside = _made(base, [("gptq", 4), ("gptq", 3)], lanes=1)
    kept_beside = left()
    assert len(kept_alone) == len(kept_beside) >= LAYERS
    assert not any(kept_alone)
    assert all(kept_beside)
    assert all(torch.equal(tensor, beside["gptq-4"][name]) for name, tensor in alone["gptq-4"].items())


def test_a_cell_that_fails_leaves_the_one_beside_it_alone(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Memory, "discard", lambda self: self.tensors.clear())
    facts = model_facts(base)
    cells = works(facts, [("gptq", 4), ("awq", 4)])
    shared = SharedPass(
        StreamedModel(base, facts, device=torch.device("cpu")),
        cells,
        calibration=_text(24, 5),
        evaluation=None,
        sample=0,
        reporter=Silent(),
        lanes=2,
    )

    class Failing(Recording):
        def begin(self, *_: object) -> Rounding:
            raise EngineError("it cannot be made")

    record(shared, Failing, cell="awq-4")
    outcome = shared.run()
    assert str(outcome.cells["awq-4"].error) == "it cannot be made"
    assert outcome.cells["gptq-4"].error is None
    assert cast(Memory, cells[0].sink).tensors


def _block(module: nn.Module) -> CalibratedBlock:
    linears = find_linears(module)
    return CalibratedBlock(
        index=0,
        module=module,
        linears=linears,
        names={name: name for name in linears},
        statistics={},
        experts={},
        folds=(),
        proven={},
        hidden=None,
        states=BaseStates(module, linears, 0, set()),
    )


def test_a_twin_has_the_tensors_and_can_have_others_without_the_block_noticing() -> None:
    block = _block(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))
    twin = block.twin()
    assert twin is not None
    mine, other = block.linears["0"].module, twin.linears["0"].module
    assert mine is not other
    assert mine.weight is other.weight
    assert all(map(operator.is_, block.module.buffers(), twin.module.buffers()))
    other.weight = nn.Parameter(torch.zeros(4, 4))
    assert cast(Tensor, mine.weight).any()


def test_cells_take_turns_on_a_block_that_cannot_be_copied() -> None:
    class Locked(nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 4)
            self.lock = threading.Lock()

    module = Locked()
    seen: list[nn.Module] = []
    with closing(Lanes(2)) as lanes:
        lanes.run(_block(module), [lambda block: seen.append(block.module)] * 3)
    assert seen == [module] * 3


def test_what_one_meets_is_raised_after_the_others_have_left() -> None:
    left: list[int] = []

    def work(number: int) -> Work:
        def do(_: CalibratedBlock) -> None:
            if number == 0:
                raise RuntimeError("a fault")
            left.append(number)

        return do

    with closing(Lanes(2)) as lanes, pytest.raises(RuntimeError, match="a fault"):
        lanes.run(_block(nn.Linear(4, 4)), [work(number) for number in range(3)])
    assert set(left) <= {1, 2}


def test_one_lane_keeps_to_the_callers_thread() -> None:
    threads: list[threading.Thread] = []
    with closing(Lanes(1)) as lanes:
        works = [lambda _: threads.append(threading.current_thread())] * 2
        assert len(lanes.run(_block(nn.Linear(4, 4)), works)) == 2
    assert threads == [threading.current_thread()] * 2
