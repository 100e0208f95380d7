"""Shards that belong together are told from those that do not, by what they say of themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from quantize_lib.errors import CalibrationError, ExitCode, UsageError
from quantize_lib.files import read_json, write_json
from quantize_lib.host.given_statistics import GivenStatistics
from quantize_lib.job.layout import STATISTICS_FILE
from quantize_lib.job.statistics_record import StatisticsSource, read_record, whole_set
from quantize_lib.manifest import parse_manifest
from quantize_lib.plan.cells import Job
from quantize_lib.worker.statistics_files import open_statistics
from tests.support.quantizing import Silent
from tests.support.shards import SOURCE, other_source, save_shard

AGAIN = "model-quantizer calibrate MANIFEST --shard 2/3 --output DIR"


def three(folder: Path) -> list[Path]:
    return [save_shard(folder, number, 3).folder for number in (1, 2, 3)]


def set_of(*folders: Path) -> list[int]:
    return [record.number for record in whole_set([read_record(folder) for folder in folders])]


def refused(act: Callable[[], object]) -> CalibrationError:
    with pytest.raises(CalibrationError) as caught:
        act()
    assert caught.value.exit_code == ExitCode.CELL_FAILED
    return caught.value


def test_what_a_shard_says_of_itself_comes_back(tmp_path: Path) -> None:
    record = save_shard(tmp_path, 2, 3)
    assert read_record(record.folder) == record


def test_a_whole_set_is_put_in_order(tmp_path: Path) -> None:
    one, two, three_of_three = three(tmp_path)
    assert set_of(three_of_three, one, two) == [1, 2, 3]


def test_a_missing_shard_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    one, _, last = three(tmp_path)
    error = refused(lambda: set_of(one, last))
    assert error.message == f"shard 2 of 3 is missing; there are 1 and 3 in {tmp_path}"
    assert error.hint is not None
    assert AGAIN in error.hint


def test_several_missing_shards_are_all_named(tmp_path: Path) -> None:
    assert refused(lambda: set_of(three(tmp_path)[1])).message.startswith(
        "shards 1 and 3 of 3 are missing; there is 2 in"
    )


def test_a_shard_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    one, two, last = three(tmp_path / "a")
    other = save_shard(tmp_path / "b", 2, 3).folder
    error = refused(lambda: set_of(one, two, last, other))
    assert error.message == f"shard 2 of 3 is there twice: {two} and {other}"


def test_a_shard_of_another_number_of_shards_is_refused(tmp_path: Path) -> None:
    one, *_ = three(tmp_path)
    other = save_shard(tmp_path, 2, 2).folder
    assert "they do not belong together" in refused(lambda: set_of(one, other)).message


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"revision": "c" * 40}, f"revision {'c' * 40} of the base model"),
        ({"calibration": "d" * 64}, "calibration text with the digest dddd"),
        ({"sequences": 10}, "10 sequences of calibration text"),
        ({"sequence_length": 32}, "sequences of 32 tokens"),
        ({"device": "cuda"}, "the device cuda"),
        ({"dtype": "bfloat16"}, "blocks that compute in bfloat16"),
        ({"versions": {"torch": "2.12.0"}}, "torch 2.12.0"),
        ({"versions": {}}, "torch none"),
    ],
)
def test_a_shard_of_something_else_is_refused_with_the_difference(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    folders = [save_shard(tmp_path, number, 3).folder for number in (1, 3)]
    odd = save_shard(tmp_path, 2, 3, source=other_source(**changed)).folder
    among_themselves = refused(lambda: set_of(*folders, odd))
    assert among_themselves.message.startswith(f"shard 2 of 3 ({odd}): it was made with {said}")
    assert among_themselves.hint is not None
    assert AGAIN in among_themselves.hint
    records = [read_record(folder) for folder in (folders[0],)]
    beside_the_job = refused(lambda: open_statistics(records, other_source(**changed), Silent()))
    assert f"and this job has {said}" in beside_the_job.message


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "it has"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x07"), "not those that were written"),
        (lambda path: path.unlink(), "model.safetensors is missing"),
    ],
    ids=["cut off", "changed", "gone"],
)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: Callable[[Path], object], said: str) -> None:
    record = save_shard(tmp_path, 2, 3)
    damage(record.folder / "model.safetensors")
    error = refused(lambda: open_statistics([record], SOURCE, Silent()))
    assert error.message.startswith("shard 2 of 3")
    assert said in error.message
    assert error.hint is not None
    assert AGAIN in error.hint


def test_a_link_is_no_file_of_sums(tmp_path: Path) -> None:
    record = save_shard(tmp_path, 2, 3)
    file = record.folder / "model.safetensors"
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert "is missing" in refused(lambda: open_statistics([record], SOURCE, Silent())).message


def test_a_tensor_of_another_shape_or_type_is_refused_before_it_is_read(tmp_path: Path) -> None:
    record = save_shard(
        tmp_path, 1, 1, tensors={"block.layer/tokens": torch.tensor([3.0]), "wide/tokens": torch.ones(2, 2)}
    )
    sums = open_statistics([record], SOURCE, Silent())
    assert "(1,) of torch.int64 was expected" in refused(lambda: sums.all_tokens("block.layer")).message
    assert "has the shape (2, 2)" in refused(lambda: sums.all_tokens("wide")).message


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"number": 0},
        {"files": {}},
        {"files": {"../model.safetensors": {"size": 1, "sha256": "0" * 64}}},
        {"files": {"model.bin": {"size": 1, "sha256": "0" * 64}}},
        {"source": {}},
        {"more": 1},
    ],
)
def test_a_record_that_is_not_as_its_schema_says_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = save_shard(tmp_path, 2, 3).folder
    write_json(folder / STATISTICS_FILE, {**read_json(folder / STATISTICS_FILE), **change})
    error = refused(lambda: read_record(folder))
    assert error.message.startswith(f"the statistics in {folder} cannot be used")


def test_a_record_that_is_no_json_or_not_there_is_refused(tmp_path: Path) -> None:
    folder = save_shard(tmp_path, 2, 3).folder
    (folder / STATISTICS_FILE).write_text("{")
    assert "is not JSON" in refused(lambda: read_record(folder)).message
    (folder / STATISTICS_FILE).unlink()
    assert "cannot be read" in refused(lambda: read_record(folder)).message


def test_a_number_beyond_the_count_is_no_shard(tmp_path: Path) -> None:
    folder = save_shard(tmp_path, 3, 3).folder
    write_json(folder / STATISTICS_FILE, {**read_json(folder / STATISTICS_FILE), "count": 2})
    assert "there is no such shard" in refused(lambda: set_of(folder)).message


def job(method: str = "gptq") -> Job:
    text = f"version: 1\nmodels: [{{id: acme/tiny, quantize: [{{method: {method}, bits: 4}}]}}]"
    (only,) = parse_manifest(text, path=Path("quantize.yml")).jobs
    return only


def test_a_run_finds_the_shards_of_its_job_in_several_folders(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        save_shard(tmp_path / str(number) / "tiny-auto", number, 3)
    given = GivenStatistics.find([tmp_path / "3", tmp_path / "1", tmp_path / "2"])
    assert given is not None
    found = given.of(job(), SOURCE.revision)
    assert [folder.name for folder in found] == ["1-of-3", "2-of-3", "3-of-3"]
    assert given.of(job("bitsandbytes"), SOURCE.revision) == ()


def test_a_run_that_is_given_nothing_calibrates_by_itself() -> None:
    assert GivenStatistics.find([]) is None


def test_a_folder_without_statistics_is_refused_at_once(tmp_path: Path) -> None:
    for folder, said in ((tmp_path, "holds no statistics"), (tmp_path / "no", "is no folder")):
        with pytest.raises(UsageError, match=re.escape(f"--statistics: {folder} {said}")):
            GivenStatistics.find([folder])


def test_statistics_of_another_job_are_named(tmp_path: Path) -> None:
    save_shard(tmp_path / "other-cpu", 1, 1)
    given = GivenStatistics.find([tmp_path])
    assert given is not None
    error = refused(lambda: given.of(job(), SOURCE.revision))
    assert error.message == f"{tmp_path} has no statistics of tiny-auto; it has those of other-cpu"


def test_statistics_of_another_revision_are_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    save_shard(tmp_path / "tiny-auto", 1, 1)
    given = GivenStatistics.find([tmp_path])
    assert given is not None
    assert "this run takes eeee" in refused(lambda: given.of(job(), "e" * 40)).message


def test_the_first_difference_is_told_both_ways() -> None:
    mine, others = SOURCE, StatisticsSource(**{**vars(SOURCE), "dtype": "bfloat16"})
    assert mine.difference(mine) is None
    assert mine.difference(others) == (
        "blocks that compute in float32",
        "blocks that compute in bfloat16",
    )


def test_a_record_cannot_steer_a_terminal(tmp_path: Path) -> None:
    record = save_shard(tmp_path, 1, 1, source=other_source(revision="\x1b[31m"))
    assert "\x1b" in json.loads((record.folder / STATISTICS_FILE).read_text())["source"]["revision"]
    error = refused(lambda: open_statistics([read_record(record.folder)], SOURCE, Silent()))
    assert "\x1b" not in str(error)
