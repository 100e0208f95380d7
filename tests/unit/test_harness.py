"""Tasks of lm-evaluation-harness: what a manifest may ask, their files, their limits, report and card."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCardData

from quantize_lib.card.tasks import model_index, task_rows
from quantize_lib.cli.console.plain import PlainReporter
from quantize_lib.errors import UsageError
from quantize_lib.gate import check_gate
from quantize_lib.harness.spec import TaskFigure, TaskSpec
from quantize_lib.harness.task_file import TaskFile, task_key
from quantize_lib.harness.travel import check_travels, copy_task
from quantize_lib.host.lookups import Lookups
from quantize_lib.host.prepare import look
from quantize_lib.job.job_file import JobCell, JobFile, JobModel, JobTask, read_job, write_job
from quantize_lib.job.result import QuantizedCell, cell_from_json, cell_to_json
from quantize_lib.manifest import InvalidManifestError, parse_manifest
from quantize_lib.methods import settings_of
from quantize_lib.plan.cells import EvaluateSpec
from quantize_lib.report import record_from_json, record_to_json
from tests.support.model_files import write_model
from tests.support.records import MEASURED, RECORD

FILE = """task: cities
dataset_path: json
dataset_kwargs: {data_files: {test: cities.jsonl}}
output_type: multiple_choice
doc_to_text: !function utils.text
"""
FIGURE = TaskFigure(
    metric="acc",
    more_is_better=True,
    examples=40,
    num_fewshot=0,
    before=0.5,
    before_error=0.05,
    after=0.45,
    after_error=None,
    key="k",
)


def evaluate(folder: Path, *tasks: dict[str, Any], **more: Any) -> EvaluateSpec:
    (folder / "cities.yml").write_text(FILE)
    (folder / "cities.jsonl").write_text('{"country": "France"}\n')
    document = {
        "version": 1,
        "models": [{"id": "acme/m", "quantize": [{"method": "gptq", "bits": 4}]}],
        "evaluate": {"tasks": list(tasks), **more},
    }
    (job,) = parse_manifest(yaml.safe_dump(document), path=folder / "quantize.yml").jobs
    return job.evaluate


def test_a_task_is_a_name_or_a_file_and_its_limits_are_the_gates(tmp_path: Path) -> None:
    spec = evaluate(
        tmp_path,
        {"task": "arc_easy", "limit": 100, "num_fewshot": 0, "min": 0.4},
        {"file": "cities.yml", "metric": "acc_norm", "max_loss": 0.02},
        choose="smallest",
    )
    assert spec.tasks == (
        TaskSpec(id="arc_easy", limit=100, num_fewshot=0),
        TaskSpec(id="cities", file=tmp_path / "cities.yml", metric="acc_norm"),
    )
    assert spec.limits == {"tasks.arc_easy.min": 0.4, "tasks.cities.max_loss": 0.02}


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([], "evaluate.tasks: an empty list"),
        ([{"limit": 3}], "evaluate.tasks[0]: needs `task` or `file`."),
        ([{"task": "a", "file": "cities.yml"}], "evaluate.tasks[0].task: not together with `file`"),
        ([{"task": "../a"}], "evaluate.tasks[0].task: `../a` is not a task's name."),
        ([{"file": "none.yml"}], "evaluate.tasks[0].file: there is no file `none.yml`."),
        ([{"task": "a", "max_los": 1}], "evaluate.tasks[0].max_los: unknown key."),
        ([{"task": "cities"}, {"file": "cities.yml"}], "evaluate.tasks[1]: `cities` is the id of tasks[0]"),
        ([{"task": "a", "limit": 0}], "evaluate.tasks[0].limit: 0 is less than 1"),
    ],
)
def test_what_is_wrong_with_a_task_is_told_where_it_stands(
    tasks: list[dict[str, Any]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidManifestError) as caught:
        evaluate(tmp_path, *tasks)
    assert len(caught.value.problems) == 1
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: [a\nb: c", "t.yml:2:2 is not YAML: "),
        ("- a", "t.yml is no task: it has no `task`"),
        ("group: a", "t.yml is no task: it has no `task`"),
        ("", "t.yml is no task"),
        ("task: a\nx: !other 3", "t.yml:2:4 is not YAML: could not determine a constructor"),
    ],
)
def test_a_file_that_is_no_task_is_told_with_its_place(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.yml").write_text(text)
    with pytest.raises(UsageError) as caught:
        TaskFile(tmp_path / "t.yml")
    assert f"{tmp_path}/{message}" in caught.value.message
    assert caught.value.hint


def test_the_key_of_a_task_follows_its_file_its_data_and_how_it_is_asked_for(tmp_path: Path) -> None:
    (spec,) = evaluate(tmp_path, {"file": "cities.yml"}).tasks
    keys = {task_key(spec), task_key(replace(spec, limit=3)), task_key(replace(spec, metric="acc"))}
    (tmp_path / "cities.jsonl").write_text('{"country": "Italy"}\n')
    keys.add(task_key(spec))
    (tmp_path / "cities.yml").write_text(FILE + "metadata: {version: 2}\n")
    keys.add(task_key(spec))
    assert len(keys) == 5
    (tmp_path / "cities.jsonl").unlink()
    with pytest.raises(UsageError, match=r"cities\.jsonl cannot be read"):
        task_key(spec)


@pytest.mark.parametrize(
    ("change", "limits", "reason"),
    [
        ({}, {"tasks.a.min": 0.45, "tasks.a.max_loss": 0.06}, None),
        ({}, {"tasks.a.min": 0.46}, "a: acc is 0.45, less than the least allowed 0.46"),
        ({}, {"tasks.a.max_loss": 0.04}, "worse than the base model's 0.5, more than the allowed 0.04"),
        ({"more_is_better": False}, {"tasks.a.max_loss": 0}, None),
        ({"more_is_better": False, "after": 0.6}, {"tasks.a.max_loss": 0.05}, "0.1 worse than the base"),
        ({"after": None}, {"tasks.a.min": 0}, "the task a was not measured, and its min is set"),
        ({"before": None}, {"tasks.a.max_loss": 1}, "not measured of the base model, and its max_loss"),
        ({}, {"tasks.b.c.min": 0}, "the task b.c was not measured, and its min is set"),
        ({}, {"tasks.a.most": 0}, "tasks.a.most is set, and this version has no such limit"),
    ],
)
def test_limits_on_tasks_are_judged_by_the_gate(
    change: dict[str, Any], limits: dict[str, float], reason: str | None
) -> None:
    reasons = check_gate(replace(MEASURED, tasks={"a": replace(FIGURE, **change)}), limits)
    assert len(reasons) == (reason is not None)
    assert reason is None or reason in reasons[0]


def test_tasks_travel_with_job_result_and_report(tmp_path: Path) -> None:
    job = JobFile(
        id="m-auto",
        model=JobModel(path=tmp_path / "m", name="m", revision="r"),
        device="auto",
        calibration=None,
        evaluation=None,
        cells=(JobCell(id="c", settings=settings_of("gptq", 4, {})),),
        output=tmp_path,
        tasks=(
            JobTask(spec=TaskSpec(id="arc_easy", limit=3), key="k"),
            JobTask(spec=TaskSpec(id="cities", file=tmp_path / "cities.yml"), key="l"),
        ),
    )
    write_job(tmp_path / "job.json", job)
    assert read_job(tmp_path / "job.json").tasks == job.tasks
    cell = QuantizedCell(seconds=1, size_after=1, format="gptq", tasks={"cities": FIGURE})
    assert cell_from_json(json.loads(json.dumps(cell_to_json(cell)))) == cell
    known = replace(RECORD, measurements=replace(MEASURED, tasks={"cities": FIGURE}))
    assert record_from_json(json.loads(json.dumps(record_to_json(known)))).measurements == known.measurements
    assert "tasks" not in record_to_json(RECORD)


def test_the_card_shows_tasks_in_a_table_and_in_the_metadata_that_the_hub_reads() -> None:
    lower = replace(FIGURE, metric="word_perplexity", more_is_better=False, before=None)
    known = replace(RECORD, measurements=replace(MEASURED, tasks={"arc_easy": FIGURE, "b": lower}))
    first, second = task_rows(known)
    assert (first.name, first.metric, first.examples) == ("<code>arc&#95;easy</code>", "acc", 40)
    assert (first.before, first.after) == ("0.5 ± 0.05", "0.45")
    assert (second.metric, second.before) == ("word_perplexity (less is better)", "–")
    front: dict[str, Any] = {"model-index": model_index(known)}
    card = ModelCardData(**front)
    assert card.eval_results is not None
    result = card.eval_results[0]
    assert (result.dataset_name, result.metric_type, result.metric_value) == ("arc_easy", "acc", 0.45)
    assert result.dataset_args == {"num_few_shot": 0, "examples": 40}


def test_figures_that_the_reload_did_not_reproduce_are_not_shown() -> None:
    unproven = replace(MEASURED, tasks={"a": FIGURE}, reload=None)
    assert task_rows(replace(RECORD, measurements=unproven)) == []
    assert model_index(replace(RECORD, measurements=unproven)) is None


def task_file(folder: Path, text: str = FILE, **others: str) -> TaskSpec:
    """A task's file in a folder of its own, with others beside it by name without suffix."""
    (folder / "tasks").mkdir(exist_ok=True)
    (folder / "tasks" / "cities.jsonl").write_text("{}")
    for name, content in {"cities.yml": text, **others}.items():
        (folder / "tasks" / name).write_text(content)
    return TaskSpec(id="cities", file=folder / "tasks" / "cities.yml")


def test_a_tasks_files_are_what_it_includes_the_modules_of_its_functions_and_its_data(
    tmp_path: Path,
) -> None:
    spec = task_file(
        tmp_path,
        "include: base.yml\ntask: cities\ndoc_to_text: !function utils.text\n",
        **{"base.yml": FILE + "dataset_path: csv\nprocess_docs: !function sub.more.docs\n", "utils.py": ""},
    )
    (tmp_path / "tasks" / "sub").mkdir()
    (tmp_path / "tasks" / "sub" / "more.py").write_text("")
    assert spec.file is not None
    found = TaskFile(spec.file)
    names = [str(file.relative_to(tmp_path / "tasks")) for file in found.files]
    assert names == ["cities.yml", "base.yml", "utils.py", "sub/more.py", "cities.jsonl"]
    assert found.data["dataset_path"] == "csv"
    before = task_key(spec)
    (tmp_path / "tasks" / "sub" / "more.py").write_text("changed = True")
    assert task_key(spec) != before
    copied = copy_task(spec, tmp_path / "copy")
    assert copied.file == tmp_path / "copy" / "cities.yml"
    assert TaskFile(copied.file).files == [tmp_path / "copy" / name for name in names]


def test_a_task_whose_data_lie_above_it_is_copied_with_them(tmp_path: Path) -> None:
    spec = task_file(tmp_path, FILE.replace("cities.jsonl", "../data/*.jsonl"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl").write_text("{}")
    copied = copy_task(spec, tmp_path / "copy")
    assert copied.file == tmp_path / "copy" / "tasks" / "cities.yml"
    assert (tmp_path / "copy" / "data" / "a.jsonl").is_file()


def test_files_that_include_each_other_are_told(tmp_path: Path) -> None:
    spec = task_file(tmp_path, FILE + "include: base.yml\n", **{"base.yml": "include: cities.yml\n"})
    with pytest.raises(UsageError, match=r"base\.yml includes .*cities\.yml, which is a part of it already"):
        task_key(spec)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "the task arc_easy needs its data set from the Hub, and a container has no network"),
        (
            FILE.replace("cities.jsonl", "https://x/y.jsonl"),
            "names https://x/y.jsonl, and a container has no",
        ),
        (FILE.replace("cities.jsonl", "/data/y.jsonl"), "names /data/y.jsonl, which has another path"),
        ("task: a\ndataset_path: acme/cities\n", "needs the data set acme/cities, and a container has no"),
    ],
)
def test_a_task_that_no_container_can_run_is_told(text: str | None, message: str, tmp_path: Path) -> None:
    spec = TaskSpec(id="arc_easy") if text is None else task_file(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        check_travels(spec)
    assert message in caught.value.message
    assert "--executor local" in (caught.value.hint or "")


def test_a_task_with_local_data_can_be_run_in_a_container(tmp_path: Path) -> None:
    check_travels(task_file(tmp_path))


def test_a_model_that_needs_a_container_and_a_task_that_cannot_be_run_there_are_refused_by_plan(
    tmp_path: Path,
) -> None:
    write_model(tmp_path / "one")
    entry = {"id": "./one", "allow_pickle": True, "quantize": [{"method": "bitsandbytes", "bits": 8}]}
    document = {"version": 1, "models": [entry], "evaluate": {"tasks": [{"task": "arc_easy"}]}}
    (job,) = parse_manifest(yaml.safe_dump(document), path=tmp_path / "quantize.yml").jobs
    lookups = Lookups(PlainReporter(io.StringIO()))
    with pytest.raises(UsageError, match="arc_easy needs its data set from the Hub, and a container has no"):
        look(job, lookups)
    assert look(replace(job, model=replace(job.model, allow_pickle=False)), lookups).job.cells
