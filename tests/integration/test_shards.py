"""Calibrating in shards: three processes beside one, with the real command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from quantize_lib.engine.calibrator import Calibrator
from quantize_lib.engine.sums import BlockSums
from quantize_lib.errors import ExitCode, UsageError
from quantize_lib.files import read_json
from quantize_lib.host.calibrate import CalibrateOptions, calibrate
from quantize_lib.host.lookups import Lookups
from quantize_lib.job.statistics_record import read_record
from quantize_lib.manifest import load_manifest
from quantize_lib.plan.estimate import job_memory
from quantize_lib.plan.statistics_size import statistics_bytes
from quantize_lib.report.records import CellRecord
from quantize_lib.sizing import batch_size
from tests.support.in_process import execute, reload_at_once, run_here
from tests.support.quantizing import Silent
from tests.support.small_runs import (
    ROOT,
    SEQUENCE,
    environment,
    evaluation,
    manifest,
    save_tiny_model,
    save_tiny_type,
)

CELLS = [{"method": "gptq", "bits": 4}, {"method": "awq", "bits": 4}]
JOB = "tiny-auto"
SHARDS = 3


class Told(Silent):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str) -> None:
        self.lines.append(message)

    def error(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As the processes that are started have it: on some CPUs sums depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, calibration_text: Path, held_out_text: Path) -> Path:
    """A manifest of two cells of a tiny Llama, with a batch of calibration text for each shard."""
    folder = tmp_path_factory.mktemp("shards")
    model = save_tiny_model(folder / "model", held_out_text)
    path = manifest(folder, model, calibration_text, CELLS, evaluate=evaluation(held_out_text))
    samples = SHARDS * batch_size("cpu", SEQUENCE)
    path.write_text(path.read_text().replace("samples: 8", f"samples: {samples}"), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def statistics(asked: Path) -> Path:
    """What three processes made at once."""
    started = [
        subprocess.Popen(
            [
                sys.executable,
                str(ROOT / "entrypoint.py"),
                "calibrate",
                asked.name,
                f"--shard={number}/{SHARDS}",
            ],
            cwd=asked.parent,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(1, SHARDS + 1)
    ]
    for process in started:
        _, said = process.communicate(timeout=300)
        assert process.returncode == ExitCode.OK, said
    return asked.parent / "statistics"


@pytest.fixture(autouse=True)
def no_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is other tests'."""
    reload_at_once(monkeypatch)


@pytest.fixture(scope="module")
def single(asked: Path) -> tuple[Path, dict[str, CellRecord]]:
    """What one job makes: its folder and its records."""
    with pytest.MonkeyPatch.context() as patch:
        reload_at_once(patch)
        code, records = run_here(asked, asked.parent / "single", Silent())
    assert code == ExitCode.OK
    return asked.parent / "single", records


def weights(output: Path, cell: str) -> dict[str, Tensor]:
    return load_file(output / cell / "model.safetensors")


def make(asked: Path, output: Path, number: int, count: int, limit: int | None = None) -> tuple[int, Told]:
    """A shard, made in this process."""
    told = Told()
    options = CalibrateOptions(number=number, count=count, output=output, execute=execute, max_memory=limit)
    return calibrate(load_manifest(asked), options, told), told


def test_three_processes_and_one_that_adds_make_what_one_makes(
    asked: Path, statistics: Path, single: tuple[Path, dict[str, CellRecord]], tmp_path: Path
) -> None:
    code, added = run_here(asked, tmp_path, Silent(), statistics=[statistics])
    assert code == ExitCode.OK
    for cell, record in single[1].items():
        one, other = weights(single[0], cell), weights(tmp_path, cell)
        assert one.keys() == other.keys()
        codes = [name for name in one if name.endswith("qweight")]
        assert all(torch.equal(one[name], other[name]) for name in codes), cell
        assert record.fingerprint == added[cell].fingerprint
        mine, others = record.measurements, added[cell].measurements
        assert mine is not None
        assert others is not None
        assert mine.figures["perplexity"].after == pytest.approx(others.figures["perplexity"].after, rel=1e-6)


def test_one_shard_makes_what_one_job_makes_to_the_byte(
    asked: Path, single: tuple[Path, dict[str, CellRecord]], tmp_path: Path
) -> None:
    assert make(asked, tmp_path / "statistics", 1, 1)[0] == ExitCode.OK
    code, records = run_here(asked, tmp_path / "added", Silent(), statistics=[tmp_path / "statistics"])
    assert code == ExitCode.OK
    for cell in records:
        files = [folder / cell / "model.safetensors" for folder in (single[0], tmp_path / "added")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_shard_takes_as_much_as_the_plan_says(asked: Path, statistics: Path) -> None:
    (job,) = load_manifest(asked).jobs
    expected = statistics_bytes(Lookups(Silent()).facts(job.model))
    for number in range(1, SHARDS + 1):
        record = read_record(statistics / JOB / f"{number}-of-{SHARDS}")
        size = sum(file.size for file in record.files.values())
        # Headers, and the numbers of tokens.
        assert expected <= size <= expected + 40_000


def test_a_missing_shard_fails_its_model_with_the_command_that_makes_it(
    asked: Path, statistics: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "statistics" / JOB
    alone.mkdir(parents=True)
    for number in (1, 3):
        (alone / f"{number}-of-3").symlink_to(statistics / JOB / f"{number}-of-3")
    told = Told()
    code, records = run_here(asked, tmp_path / "output", told, statistics=[tmp_path / "statistics"])
    assert code == ExitCode.CELL_FAILED
    assert {record.code for record in records.values()} == {"calibration"}
    assert any("shard 2 of 3 is missing" in line and "--shard 2/3" in line for line in told.lines)


def test_a_shard_of_other_text_is_refused_by_the_job_that_adds(
    asked: Path, statistics: Path, tmp_path: Path
) -> None:
    words = asked.read_text(encoding="utf-8").replace("samples: 96", "samples: 95")
    assert words != asked.read_text(encoding="utf-8")
    other = asked.with_name("other.yml")
    other.write_text(words, encoding="utf-8")
    code, records = run_here(other, tmp_path / "output", Told(), statistics=[statistics])
    assert code == ExitCode.CELL_FAILED
    said = records["tiny-gptq-4bit"].error
    assert said is not None
    assert "shard 1 of 3" in said
    assert "and this job has calibration text with the digest" in said


def test_more_shards_than_sequences_are_refused_before_anything_is_computed(
    asked: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="96 sequences of calibration text cannot be split over 97"):
        make(asked, tmp_path, 1, 97)


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The blocks that shards collected; the first time, the second block is interrupted."""
    seen: list[int] = []
    collect = Calibrator.collect

    def noted(self: Calibrator, index: int) -> BlockSums:
        seen.append(index)
        if seen == [0, 1]:
            raise KeyboardInterrupt
        return collect(self, index)

    monkeypatch.setattr(Calibrator, "collect", noted)
    return seen


def test_a_shard_that_was_killed_goes_on_after_its_last_block(
    asked: Path, statistics: Path, tmp_path: Path, stopped: list[int]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        make(asked, tmp_path, 2, SHARDS)
    code, told = make(asked, tmp_path, 2, SHARDS)
    assert code == ExitCode.OK
    assert stopped == [0, 1, 1]
    assert any(line.startswith("continuing after block 1") for line in told.lines)
    place = Path(JOB) / f"2-of-{SHARDS}" / "model.safetensors"
    one, other = load_file(statistics / place), load_file(tmp_path / place)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_limit_of_memory_changes_nothing_but_the_place_of_activations(
    asked: Path, statistics: Path, tmp_path: Path
) -> None:
    (job,) = load_manifest(asked).jobs
    facts = Lookups(Silent()).facts(job.model)
    code, told = make(asked, tmp_path, 1, SHARDS, limit=job_memory(job, facts, "collect").least + 1)
    assert code == ExitCode.OK
    assert any(line.startswith("activations are kept on disk") for line in told.lines)
    place = Path(JOB) / f"1-of-{SHARDS}"
    assert read_json(tmp_path / place / "statistics.json")["files"].keys() == {"model.safetensors"}
    one, other = (load_file(folder / place / "model.safetensors") for folder in (statistics, tmp_path))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_experts_of_a_mixture_add_up_too(
    tmp_path: Path, held_out_text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In bfloat16 a product is rounded, and shards make others of an expert's tokens.
    monkeypatch.setattr("quantize_lib.engine.precision.calibration_arithmetic", lambda _: "float32")
    model = save_tiny_type("mixtral", tmp_path / "model", held_out_text, num_hidden_layers=1)
    asked = manifest(tmp_path, model, held_out_text, [{"method": "gptq", "bits": 4, "effort": "fast"}])
    for number in (1, 2):
        assert make(asked, tmp_path / "statistics", number, 2)[0] == ExitCode.OK
    for name, given in (("single", []), ("added", [tmp_path / "statistics"])):
        code, records = run_here(asked, tmp_path / name, Told(), statistics=given)
        assert code == ExitCode.OK, records
    one, other = (weights(tmp_path / name, "tiny-gptq-4bit") for name in ("single", "added"))
    packed = [name for name in one if ".experts." in name and name.endswith("weight_packed")]
    assert len(packed) == len([name for name in other if name in packed]) > 0
    same = sum(int((one[name] == other[name]).sum()) for name in packed)
    assert same >= 0.999 * sum(one[name].numel() for name in packed)
