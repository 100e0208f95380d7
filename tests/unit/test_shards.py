"""Shards of a calibration text: on the command line, in plans, in job files, in containers, in memory."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantize_lib.cli.arguments import parse_arguments
from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.cli.planning import show_plan
from quantize_lib.errors import CalibrationError, UsageError
from quantize_lib.executors.docker.container_spec import Bind, statistics_binds, write_container_job
from quantize_lib.files import read_json, write_json
from quantize_lib.host.calibrate import CalibrateOptions, calibrate
from quantize_lib.job.job_file import JobCell, JobFile, JobModel, JobShard, JobText, read_job, write_job
from quantize_lib.manifest import parse_manifest
from quantize_lib.methods import Settings
from quantize_lib.plan import plan_github, plan_github_shards, plan_table
from quantize_lib.plan.cells import Plan
from quantize_lib.plan.memory_needs import MemoryNeeds, Share, memory_needs
from quantize_lib.plan.shards import calibration_of
from quantize_lib.plan.statistics_size import statistics_bytes
from quantize_lib.worker.job_memory import fit, fit_shard
from quantize_lib.worker.shard_job import rows_of
from tests.support.down_projections import facts

SILENT = PlainReporter(io.StringIO())
TEXT = """
version: 1
models:
  - id: acme/a
    quantize: [{method: gptq, bits: 4}, {method: bitsandbytes, bits: 8}]
  - id: acme/b
    quantize: [{method: bitsandbytes, bits: 4}]
"""


def plan_of(text: str = TEXT) -> Plan:
    return parse_manifest(text, path=Path("quantize.yml"))


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 40))
def test_shards_share_all_sequences_by_whole_batches_where_there_are_enough(
    count: int, sequences: int, batch: int
) -> None:
    if count > sequences:
        with pytest.raises(CalibrationError, match=f"which {count} shards cannot share"):
            rows_of(JobShard(number=1, count=count), sequences, batch)
        return
    numbers = range(1, count + 1)
    parts = [rows_of(JobShard(number=number, count=count), sequences, batch) for number in numbers]
    assert [row for part in parts for row in part] == list(range(sequences))
    unit = batch if count <= ceil(sequences / batch) else 1
    assert all(part.start % unit == 0 for part in parts)
    batches = [ceil(len(part) / unit) for part in parts]
    assert max(batches) - min(batches) <= 1
    assert min(batches) >= 1


@pytest.mark.parametrize(("word", "shard"), [("1/1", (1, 1)), ("2/3", (2, 3)), ("0010/10000", (10, 10_000))])
def test_a_shard_is_a_number_of_how_many(word: str, shard: tuple[int, int]) -> None:
    assert parse_arguments(["calibrate", "quantize.yml", "--shard", word]).shard == shard


@pytest.mark.parametrize(
    "word", ["0/3", "4/3", "2", "2/", "/3", "-1/3", "2/3/4", "2 /3", "1/10001", "٢/٣", "2/3\n", ""]
)
def test_what_is_no_shard_is_refused_with_an_example(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments(["calibrate", "quantize.yml", f"--shard={word}"])
    assert caught.value.code == 2
    assert "is not a shard, as in 2/3" in capsys.readouterr().err


def test_calibrate_needs_to_know_which_shard(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["calibrate", "quantize.yml"])
    assert "--shard" in capsys.readouterr().err


def test_a_run_may_be_given_several_folders() -> None:
    words = ["run", "quantize.yml", "--statistics", "a", "--statistics", "b"]
    assert parse_arguments(words).statistics == [Path("a"), Path("b")]
    assert parse_arguments(["run", "quantize.yml"]).statistics == []


def test_the_matrix_has_the_shards_of_each_model_that_calibrates_and_every_job() -> None:
    plan = plan_of()
    made = plan_github_shards(plan, 3)
    first, second = plan_github(plan)["include"]
    assert made["jobs"]["include"] == [{**first, "shards": 3}, {**second, "shards": 0}]
    assert made["shards"]["include"] == [
        {**first, "job": f"a-auto-shard-{number}-of-3", "shard": f"{number}/3"} for number in (1, 2, 3)
    ]


def test_a_plan_without_calibration_has_no_shards() -> None:
    plan = plan_of("version: 1\nmodels: [{id: acme/b, quantize: [{method: bitsandbytes, bits: 4}]}]")
    assert plan_github_shards(plan, 3)["shards"]["include"] == []


def test_more_shards_than_sequences_are_refused() -> None:
    with pytest.raises(
        UsageError, match="a-auto: 128 sequences of calibration text cannot be split over 129"
    ):
        plan_github_shards(plan_of(), 129)


def test_more_jobs_than_a_matrix_holds_are_refused() -> None:
    models = "\n".join(f"  - {{id: acme/m{n}, quantize: [{{method: awq, bits: 4}}]}}" for n in range(65))
    plan = plan_of(f"version: 1\nmodels:\n{models}")
    assert len(plan_github_shards(plan, 3)["shards"]["include"]) == 195
    with pytest.raises(UsageError, match="4 shards of 65 jobs, and 65 jobs that add them up"):
        plan_github_shards(plan, 4)


def test_the_table_says_what_shards_leave() -> None:
    (line,) = (line for line in plan_table(plan_of(), {}, shards=3).splitlines() if "of statistics" in line)
    assert line == "a-auto: each of 3 shards leaves ? of statistics, all of them ?."
    assert "of statistics" not in plan_table(plan_of(), {})


def test_a_plan_as_json_takes_no_shards() -> None:
    with pytest.raises(UsageError, match="--shards belongs to --format github or table"):
        show_plan(parse_arguments(["plan", "m.yml", "--format=json", "--shards=2"]), SILENT)


def test_nothing_is_calibrated_where_no_method_asks_for_it(tmp_path: Path) -> None:
    plan = plan_of("version: 1\nmodels: [{id: acme/b, quantize: [{method: bitsandbytes, bits: 4}]}]")

    def execute(*_: Any, **__: Any) -> None:
        raise AssertionError

    with pytest.raises(UsageError, match="there is nothing to calibrate"):
        calibrate(plan, CalibrateOptions(number=1, count=2, output=tmp_path, execute=execute), SILENT)
    assert not list(tmp_path.iterdir())


def text(samples: int = 100) -> JobText:
    return JobText(
        texts=Path("/t.json"), source="s", dataset=None, revision="r", samples=samples, sequence_length=512
    )


JOB = JobFile(
    id="mine-cpu",
    model=JobModel(path=Path("/m"), name="m", revision="r"),
    device="cpu",
    calibration=text(),
    evaluation=text(10),
    cells=(JobCell(id="a", settings=Settings(method="gptq", bits=4)),),
    output=Path("/out"),
)


def test_a_job_file_holds_a_shard_or_statistics(tmp_path: Path) -> None:
    for changed in (
        replace(JOB, shard=JobShard(number=2, count=3, size=7)),
        replace(JOB, statistics=(Path("/s/1"), Path("/s/2"))),
    ):
        write_job(tmp_path / "job.json", changed)
        read = read_job(tmp_path / "job.json")
        assert (read.shard, read.statistics) == (changed.shard, changed.statistics)
    assert replace(JOB, shard=JobShard(number=2, count=3)).leaves == ("statistics",)
    assert JOB.leaves == ("a",)


def test_a_job_file_without_either_is_written_as_ever(tmp_path: Path) -> None:
    write_job(tmp_path / "job.json", JOB)
    assert not {"shard", "statistics"} & read_json(tmp_path / "job.json").keys()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"shard": {"number": 4, "count": 3}}, "there is no shard 4 of 3"),
        ({"shard": {"number": 0, "count": 3}}, "0 is less than the minimum of 1"),
        ({"shard": {"number": 1}}, "'count' is a required property"),
        (
            {"shard": {"number": 1, "count": 2}, "statistics": ["s"]},
            "a job for a shard takes no `statistics`",
        ),
        ({"shard": {"number": 1, "count": 2}, "calibration": None}, "a job for a shard needs `calibration`"),
        ({"statistics": []}, "should be non-empty"),
    ],
)
def test_a_job_file_that_asks_for_what_cannot_be_is_refused(
    changed: dict[str, Any], said: str, tmp_path: Path
) -> None:
    write_job(tmp_path / "job.json", JOB)
    words = {**read_json(tmp_path / "job.json"), **changed}
    write_json(tmp_path / "job.json", {name: value for name, value in words.items() if value is not None})
    with pytest.raises(UsageError) as caught:
        read_job(tmp_path / "job.json")
    assert said in caught.value.message


def test_a_container_reads_statistics_and_cannot_write_them(tmp_path: Path) -> None:
    given_text = tmp_path / "calibration.json"
    given_text.write_text("[]")
    folders = (tmp_path / "1-of-2", tmp_path / "2-of-2")
    job = replace(
        JOB,
        calibration=replace(text(), texts=given_text),
        evaluation=None,
        statistics=folders,
        output=tmp_path,
    )
    assert statistics_binds(job) == (
        Bind(source=folders[0], target="/statistics/0"),
        Bind(source=folders[1], target="/statistics/1"),
    )
    assert all(bind.read_only for bind in statistics_binds(job))
    write_container_job(job, "/model/m", (), tmp_path / "inside")
    written = json.loads((tmp_path / "inside" / "job.json").read_text())
    assert written["statistics"] == ["/statistics/0", "/statistics/1"]
    assert str(tmp_path) not in json.dumps(written)


def needs(share: Share, samples: int = 100) -> MemoryNeeds:
    settings = [Settings(method="gptq", bits=4, own={"effort": "fast"})]
    return memory_needs(facts(), settings, calibration=text(samples), evaluation=text(10), share=share)


def test_a_shard_takes_no_memory_for_rounding_and_none_for_what_is_held_out() -> None:
    assert needs("collect").rest < needs("all").rest
    assert needs("collect").ahead == 0
    assert needs("collect", samples=25).hidden < needs("collect").hidden < needs("all").hidden


def test_a_job_that_adds_takes_none_for_the_calibration_text() -> None:
    assert needs("add").hidden == needs("add", samples=10).hidden < needs("all").hidden
    assert needs("add").rest == needs("all").rest
    assert needs("add").ahead == 0


def test_what_is_left_of_the_text_where_sums_are_added_is_what_folds_are_proven_on() -> None:
    hidden = {
        method: memory_needs(
            facts(),
            [Settings(method=method, bits=4, own={"effort": "fast"})],
            calibration=text(),
            evaluation=None,
            share="add",
        ).hidden
        for method in ("gptq", "awq")
    }
    assert hidden["gptq"] == 0
    assert 128 * 1536 * 4 <= hidden["awq"] <= 1.2 * 128 * 1536 * 4


def test_what_is_held_out_is_no_matter_of_a_shard() -> None:
    whole = plan_of(TEXT + "evaluate: {perplexity: {texts: [x]}, tasks: [{task: arc_easy}]}\n")
    (job,) = calibration_of(whole).jobs
    assert job.id == "a-auto"
    assert (job.evaluate.held_out, job.evaluate.tasks) == (None, ())
    assert job.cells == whole.jobs[0].cells


def test_both_keep_activations_on_disk_below_a_limit() -> None:
    limited = replace(JOB, max_memory=700_000_000)
    assert fit_shard(limited, 33, facts(), "cpu", SILENT).spill == 0
    least = memory_needs(
        facts(), [one.settings for one in JOB.cells], calibration=text(33), evaluation=None, share="collect"
    ).least
    assert fit_shard(replace(JOB, max_memory=least), 33, facts(), "cpu", SILENT).spill == 33
    assert not fit(replace(JOB, statistics=(Path("/s"),)), JOB.cells, facts(), "cpu", SILENT).ahead
    with pytest.raises(UsageError, match="mine-cpu is computed on cuda"):
        fit_shard(limited, 33, facts(), "cuda", SILENT)
    with pytest.raises(UsageError, match="the job needs about"):
        fit_shard(replace(JOB, max_memory=10**8), 33, facts(), "cpu", SILENT)


def test_statistics_are_a_triangle_and_a_row_of_each_input_whatever_the_text() -> None:
    assert statistics_bytes(facts(blocks=2)) == 2 * 4 * (1536 * 1537 // 2 + 1536)
