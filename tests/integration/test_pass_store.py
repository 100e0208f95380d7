"""A pass that ends after any block goes on from there: no finished block is computed again."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from quantize_lib.engine.cell_work import PassOutcome
from quantize_lib.engine.model import StreamedModel
from quantize_lib.engine.pass_state import Batches, PassState
from quantize_lib.engine.shared_pass import SharedPass
from quantize_lib.errors import CheckpointError
from quantize_lib.files import read_json, sha256_file
from quantize_lib.job.layout import PROGRESS_FILE
from quantize_lib.methods import Settings
from quantize_lib.source.facts import ModelFacts
from quantize_lib.worker.hidden_files import HiddenFile
from quantize_lib.worker.pass_store import PassFolder
from tests.support.families import VOCABULARY, save_family
from tests.support.passes import work
from tests.support.quantizing import Silent, model_facts
from tests.support.resuming import BLOCKS, deepen

CELLS: dict[str, tuple[str, int]] = {
    "tiny-gptq-4bit": ("gptq", 4),
    "tiny-awq-4bit": ("awq", 4),
    "tiny-bnb-8bit": ("bitsandbytes", 8),
    # It rounds the embedding, too: its held-out text begins otherwise than the base model's.
    "tiny-gguf-4bit": ("gguf", 4),
}
KEYS = {cell_id: f"key of {cell_id}" for cell_id in CELLS}
ROOM = dict.fromkeys(CELLS, 300)


class KilledError(Exception):
    """Stands for the end of a process."""


class Killed:
    """A store that ends the pass just before, or just after, it keeps the state after a block."""

    def __init__(self, store: PassFolder, *, block: int, kept: bool) -> None:
        self._store, self._block, self._kept = store, block, kept

    def hold(self, name: str, batches: Iterable[Tensor]) -> Batches:
        return self._store.hold(name, batches)

    def load(self) -> PassState | None:
        return self._store.load()

    def commit(self, state: PassState) -> None:
        if state.blocks < self._block:
            self._store.commit(state)
        else:
            if self._kept:
                self._store.commit(state)
            raise KilledError


class Warned(Silent):
    """Remembers warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of eight blocks. Read only."""
    return deepen(save_family("llama", tmp_path_factory.mktemp("pass-store") / "base"))


@pytest.fixture(scope="module")
def streamed(base: Path) -> tuple[StreamedModel, ModelFacts]:
    facts = model_facts(base)
    return StreamedModel(base, facts, device=torch.device("cpu")), facts


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The block of every forward of a decoder layer."""
    seen: list[int] = []
    original = LlamaDecoderLayer.forward

    def counted(self: LlamaDecoderLayer, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.append(int(self.self_attn.layer_idx))
        return original(self, hidden_states, *args, **kwargs)

    monkeypatch.setattr(LlamaDecoderLayer, "forward", counted)
    return seen


def text(seed: int, samples: int) -> Tensor:
    return torch.randint(3, VOCABULARY, (samples, 64), generator=torch.Generator().manual_seed(seed))


def opened(
    folder: Path,
    keys: Mapping[str, str],
    *,
    found: bool,
    reporter: Silent | None = None,
    spilled: bool = False,
) -> PassFolder:
    """The pass there, from its beginning or as it was left."""
    make = PassFolder.find if found else PassFolder.new
    made = make(
        folder,
        key="pass",
        keys=keys,
        room=ROOM,
        device="cpu",
        reporter=reporter or Silent(),
        spill=50 if spilled else 0,
    )
    assert made is not None
    return made


def run(
    streamed: tuple[StreamedModel, ModelFacts],
    folder: PassFolder,
    store: PassFolder | Killed | None = None,
    *,
    ahead: bool = False,
) -> PassOutcome:
    """The pass with the folder's cells; their shards are complete afterwards."""
    model, facts = streamed
    works = []
    for cell_id in folder.keys:
        method, bits = CELLS[cell_id]
        settings = Settings(method=method, bits=bits, group_size=32)
        works.append(work(facts, settings, folder.writers[cell_id], cell_id=cell_id))
    # A process that is killed leaves no open files behind, a test's own process would.
    with folder:
        outcome = SharedPass(
            model,
            works,
            calibration=text(1, 8),
            evaluation=text(2, 2),
            sample=1,
            reporter=Silent(),
            store=store or folder,
            ahead=ahead,
        ).run()
        for cell in works:
            if outcome.cells[cell.id].error is None:
                folder.writers[cell.id].finish()
    return outcome


def weights(folder: PassFolder) -> dict[str, str]:
    return {
        cell_id: sha256_file(folder.folder / cell_id / "model.safetensors")
        for cell_id in folder.keys
        if (folder.folder / cell_id / "model.safetensors").exists()
    }


@pytest.fixture(scope="module")
def whole(
    streamed: tuple[StreamedModel, ModelFacts], tmp_path_factory: pytest.TempPathFactory
) -> tuple[PassOutcome, dict[str, str]]:
    """A pass that nothing ended, and its files."""
    folder = opened(tmp_path_factory.mktemp("whole") / "1", KEYS, found=False)
    return run(streamed, folder), weights(folder)


def same_tokens(mine: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    """Whether all metrics of a text are the same, to the last bit."""
    return (
        bool(mine)
        and mine.keys() == other.keys()
        and all(torch.equal(mine[name], other[name]) for name in mine)
    )


def same(outcome: PassOutcome, whole: PassOutcome, cells: Mapping[str, Any]) -> None:
    """Every figure is the same, to the last bit."""
    assert same_tokens(outcome.base_tokens, whole.base_tokens)
    for cell_id in cells:
        mine, other = outcome.cells[cell_id], whole.cells[cell_id]
        assert mine.error is None
        assert (mine.errors, mine.notes) == (other.errors, other.notes)
        assert same_tokens(mine.tokens, other.tokens)


@pytest.mark.parametrize("block", [1, 4, BLOCKS])
@pytest.mark.parametrize("kept", [False, True], ids=["before it was kept", "after"])
@pytest.mark.parametrize("ahead", [False, True], ids=["in turn", "calibrated ahead"])
def test_no_finished_block_is_done_again_and_every_bit_is_the_same(
    block: int,
    kept: bool,
    ahead: bool,
    streamed: tuple[StreamedModel, ModelFacts],
    whole: tuple[PassOutcome, dict[str, str]],
    forwards: list[int],
    tmp_path: Path,
) -> None:
    begun = opened(tmp_path / "1", KEYS, found=False)
    with pytest.raises(KilledError):
        run(streamed, begun, Killed(begun, block=block, kept=kept), ahead=ahead)
    safe = block if kept else block - 1
    if not safe:
        assert (
            PassFolder.find(tmp_path / "1", key="pass", keys=KEYS, room=ROOM, device="cpu", reporter=Silent())
            is None
        )
        assert not (tmp_path / "1").exists()
        return
    forwards.clear()
    again = opened(tmp_path / "1", KEYS, found=True)
    outcome = run(streamed, again, ahead=ahead)
    assert sorted(set(forwards)) == list(range(safe, BLOCKS))
    same(outcome, whole[0], CELLS)
    assert weights(again) == whole[1]


def test_the_state_holds_the_texts_once_and_nothing_of_the_blocks_before(
    streamed: tuple[StreamedModel, ModelFacts], tmp_path: Path
) -> None:
    sizes = []
    for block in (1, BLOCKS):
        folder = opened(tmp_path / str(block), KEYS, found=False)
        with pytest.raises(KilledError):
            run(streamed, folder, Killed(folder, block=block, kept=True))
        (hidden,) = folder.folder.glob("hidden-*")
        sizes.append(hidden.stat().st_size)
    assert sizes[0] == sizes[1]
    # The calibration, held-out text on its ways, and the calibration's on those of cells that correct errors.
    correcting = [cell for cell in CELLS.values() if cell[0] not in ("bitsandbytes", "gguf")]
    states = (8 + 2 * (1 + len(CELLS)) + 8 * len(correcting)) * 64 * 128 * 4
    assert states < sizes[0] < states + 8192


def test_a_changed_cell_leaves_the_pass_and_the_others_go_on(
    streamed: tuple[StreamedModel, ModelFacts],
    whole: tuple[PassOutcome, dict[str, str]],
    forwards: list[int],
    tmp_path: Path,
) -> None:
    begun = opened(tmp_path / "1", KEYS, found=False)
    with pytest.raises(KilledError):
        run(streamed, begun, Killed(begun, block=5, kept=True))
    forwards.clear()
    left = {cell_id: key for cell_id, key in KEYS.items() if cell_id != "tiny-awq-4bit"}
    again = opened(tmp_path / "1", {**left, "tiny-awq-4bit": "another"}, found=True)
    assert again.keys == left
    assert not (tmp_path / "1" / "tiny-awq-4bit").exists()
    outcome = run(streamed, again)
    assert min(forwards) == 5
    same(outcome, whole[0], left)
    assert weights(again) == {cell_id: whole[1][cell_id] for cell_id in left}


def test_a_failed_cell_stays_failed_and_is_not_tried_again(
    streamed: tuple[StreamedModel, ModelFacts], tmp_path: Path
) -> None:
    begun = opened(tmp_path / "1", KEYS, found=False)
    with pytest.raises(KilledError):
        run(streamed, begun, Killed(begun, block=2, kept=True))
    state = read_json(tmp_path / "1" / PROGRESS_FILE)
    kept = {"code": "checkpoint", "message": "no", "hint": "Do."}
    state["cells"]["tiny-gptq-4bit"] |= {"shards": None, "error": kept}
    (tmp_path / "1" / PROGRESS_FILE).write_text(json.dumps(state), encoding="utf-8")
    again = opened(tmp_path / "1", KEYS, found=True)
    outcome = run(streamed, again)
    error = outcome.cells["tiny-gptq-4bit"].error
    assert isinstance(error, CheckpointError)
    assert (error.message, error.hint) == ("no", "Do.")
    assert sorted(weights(again)) == sorted(KEYS.keys() - {"tiny-gptq-4bit"})


@pytest.mark.parametrize(
    "damage", ["another pass", "no JSON", "no object", "hidden cut", "hidden gone", "no cells"]
)
def test_what_cannot_be_gone_on_from_is_removed(
    damage: str, streamed: tuple[StreamedModel, ModelFacts], tmp_path: Path
) -> None:
    folder = tmp_path / "1"
    begun = opened(folder, KEYS, found=False)
    with pytest.raises(KilledError):
        run(streamed, begun, Killed(begun, block=1, kept=True))
    progress = folder / PROGRESS_FILE
    (hidden,) = folder.glob("hidden-*")
    if damage == "no JSON":
        progress.write_text("{", encoding="utf-8")
    elif damage == "no object":
        progress.write_text("[1]", encoding="utf-8")
    elif damage == "hidden cut":
        hidden.write_bytes(hidden.read_bytes()[:-1])
    elif damage == "hidden gone":
        hidden.unlink()
    found = PassFolder.find(
        folder,
        key="another" if damage == "another pass" else "pass",
        keys={} if damage == "no cells" else KEYS,
        room=ROOM,
        device="cpu",
        reporter=Silent(),
    )
    assert found is None
    assert not folder.exists()


def test_a_cell_whose_shard_is_damaged_starts_afresh_alone(
    streamed: tuple[StreamedModel, ModelFacts], tmp_path: Path
) -> None:
    begun = opened(tmp_path / "1", KEYS, found=False)
    with pytest.raises(KilledError):
        run(streamed, begun, Killed(begun, block=3, kept=True))
    (tmp_path / "1" / "tiny-bnb-8bit" / "part-00001.safetensors").write_bytes(b"short")
    reporter = Warned()
    with opened(tmp_path / "1", KEYS, found=True, reporter=reporter) as again:
        assert len(reporter.warnings) == 1
    assert sorted(again.keys) == sorted(KEYS.keys() - {"tiny-bnb-8bit"})
    assert reporter.warnings[0].startswith("tiny-bnb-8bit starts afresh: ")


def test_a_pass_whose_state_cannot_be_kept_says_so_once_and_goes_on(
    streamed: tuple[StreamedModel, ModelFacts], whole: tuple[PassOutcome, dict[str, str]], tmp_path: Path
) -> None:
    reporter = Warned()
    folder = opened(tmp_path / "1", KEYS, found=False, reporter=reporter)
    (tmp_path / "1" / "hidden-00001.safetensors").mkdir()
    outcome = run(streamed, folder)
    same(outcome, whole[0], CELLS)
    assert weights(folder) == whole[1]
    assert len(reporter.warnings) == 1
    assert "the state of the pass cannot be kept: Is a directory" in reporter.warnings[0]
    assert not (tmp_path / "1" / PROGRESS_FILE).exists()


def test_spilled_to_disk_every_bit_is_the_same(
    streamed: tuple[StreamedModel, ModelFacts], whole: tuple[PassOutcome, dict[str, str]], tmp_path: Path
) -> None:
    folder = opened(tmp_path / "1", KEYS, found=False, spilled=True)
    outcome = run(streamed, folder)
    same(outcome, whole[0], CELLS)
    assert weights(folder) == whole[1]
    # What the next block would read, and nothing of the blocks before.
    assert [file.name for file in folder.folder.glob("hidden-*")] == [f"hidden-{BLOCKS:05d}.safetensors"]


@pytest.mark.parametrize(
    ("before", "after"),
    [(True, True), (True, False), (False, True)],
    ids=["spilled", "then not", "only then"],
)
@pytest.mark.parametrize("kept", [False, True], ids=["before it was kept", "after"])
def test_a_spilled_pass_goes_on_whether_it_spills_then_or_not(
    before: bool,
    after: bool,
    kept: bool,
    streamed: tuple[StreamedModel, ModelFacts],
    whole: tuple[PassOutcome, dict[str, str]],
    forwards: list[int],
    tmp_path: Path,
) -> None:
    begun = opened(tmp_path / "1", KEYS, found=False, spilled=before)
    with pytest.raises(KilledError):
        run(streamed, begun, Killed(begun, block=4, kept=kept))
    forwards.clear()
    again = opened(tmp_path / "1", KEYS, found=True, spilled=after)
    outcome = run(streamed, again)
    assert min(forwards) == (4 if kept else 3)
    same(outcome, whole[0], CELLS)
    assert weights(again) == whole[1]


def test_spilled_states_are_never_all_in_memory(
    streamed: tuple[StreamedModel, ModelFacts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[weakref.ref[Tensor]] = []
    most = 0
    original = HiddenFile.batch

    def batch(self: HiddenFile, name: str, number: int) -> Tensor:
        nonlocal most
        tensor = original(self, name, number)
        taken.append(weakref.ref(tensor))
        most = max(most, sum(one() is not None for one in taken))
        return tensor

    monkeypatch.setattr(HiddenFile, "batch", batch)
    run(streamed, opened(tmp_path / "1", KEYS, found=False, spilled=True))
    # Calibration, held-out text and three cells' ways of it, through eight blocks.
    assert len(taken) > BLOCKS * (1 + 2 * 4)
    # The one that is worked on, and the first one of the calibration, on which folds are proven.
    assert most <= 3


def test_spilled_states_that_find_no_room_end_the_pass_and_not_its_state(
    streamed: tuple[StreamedModel, ModelFacts], tmp_path: Path
) -> None:
    begun = opened(tmp_path / "1", KEYS, found=False, spilled=True)
    with pytest.raises(KilledError):
        run(streamed, begun, Killed(begun, block=2, kept=True))
    again = opened(tmp_path / "1", KEYS, found=True, spilled=True)
    (tmp_path / "1" / "hidden-00003.safetensors").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        run(streamed, again)
    assert read_json(tmp_path / "1" / PROGRESS_FILE)["blocks"] == 2


def test_calibration_goes_through_a_block_in_which_nothing_is_quantized(
    streamed: tuple[StreamedModel, ModelFacts], forwards: list[int], tmp_path: Path
) -> None:
    model, facts = streamed
    settings = Settings(
        method="gptq", bits=4, group_size=32, modules_to_not_convert=("model.layers.2.*", "model.layers.3.*")
    )
    folder = opened(tmp_path / "1", {"tiny-gptq-4bit": "key"}, found=False)
    cell = work(facts, settings, folder.writers["tiny-gptq-4bit"], cell_id="tiny-gptq-4bit")
    assert not [name for name in cell.layers if name.startswith("model.layers.2.")]
    calibration = text(1, 8)
    with folder:
        SharedPass(
            model, [cell], calibration=calibration, evaluation=None, sample=0, reporter=Silent(), store=folder
        ).run()
    counted = {index: forwards.count(index) for index in range(BLOCKS)}
    # The text by which the cell makes up for errors goes through the first block of a kind twice.
    counted[0] -= 1
    assert counted == dict.fromkeys(range(BLOCKS), counted[1])
