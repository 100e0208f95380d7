"""The user's test command: what a manifest may ask, its files, its figures, its limits, report and card."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from quantize_lib.card.tasks import command_rows
from quantize_lib.command.figures import MAX_FIGURES, FiguresError, read_figures
from quantize_lib.command.files import command_key, copy_files
from quantize_lib.command.question import CommandAnswer, CommandQuestion
from quantize_lib.command.spec import CommandResult, CommandSpec
from quantize_lib.errors import UsageError
from quantize_lib.gate import check_gate, judge_limits
from quantize_lib.host.command_runs import passed_before
from quantize_lib.manifest import InvalidManifestError, parse_manifest
from quantize_lib.plan.cells import EvaluateSpec, Plan
from quantize_lib.plan.documents import plan_json
from quantize_lib.plan.fingerprint import fingerprint
from quantize_lib.report import record_from_json, record_to_json
from quantize_lib.report.summary import summary_markdown
from quantize_lib.report.task_table import task_table
from tests.support.records import MEASURED, RECORD

RESULT = CommandResult(exit_code=0, fault=None, figures={"accuracy": 0.9, "p95.ms": 12}, seconds=3, key="k")
TESTED = replace(RECORD, measurements=replace(MEASURED, command=RESULT))


def plan(folder: Path, command: Any, **more: Any) -> Plan:
    (folder / "check.py").write_text("print(1)\n")
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "rows.jsonl").write_text("{}\n")
    document = {
        "version": 1,
        "models": [{"id": "acme/m", "quantize": [{"method": "gptq", "bits": 4}]}],
        "evaluate": {"test_command": command, **more} if command else more,
    }
    return parse_manifest(yaml.safe_dump(document), path=folder / "quantize.yml")


def evaluate(folder: Path, command: Any, **more: Any) -> EvaluateSpec:
    (job,) = plan(folder, command, **more).jobs
    return job.evaluate


def test_a_command_has_words_files_a_time_limit_and_limits(tmp_path: Path) -> None:
    spec = evaluate(
        tmp_path,
        {
            "command": ["python", "check.py", "{checkpoint}"],
            "files": ["check.py", "data"],
            "limits": {"accuracy": {"min": 0.9}, "p95.ms": {"min": 1, "max": 50}},
        },
        choose="smallest",
    )
    assert spec.command == CommandSpec(
        words=("python", "check.py", "{checkpoint}"),
        files=(tmp_path / "check.py", tmp_path / "data"),
        timeout=3600,
    )
    assert spec.limits == {
        "test_command": 0,
        "test_command.accuracy.min": 0.9,
        "test_command.p95.ms.min": 1,
        "test_command.p95.ms.max": 50,
    }


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["python"], "evaluate.test_command: expected a mapping"),
        ({}, "evaluate.test_command: the key `command` is missing."),
        ({"command": []}, "evaluate.test_command.command: an empty list"),
        ({"command": "python check.py"}, "evaluate.test_command.command: expected a list"),
        (
            {"command": ["sh", 3]},
            "evaluate.test_command.command[1]: expected text, got 3. Write it in quotes.",
        ),
        ({"command": ["sh", "a\0"]}, "it holds a character with the code 0"),
        ({"command": ["sh"], "timeout": 0}, "evaluate.test_command.timeout: 0 is less than 1"),
        ({"command": ["sh"], "file": ["x"]}, "evaluate.test_command.file: unknown key."),
        ({"command": ["sh"], "files": ["x"]}, "files[0]: there is no file or folder `x`."),
        ({"command": ["sh"], "files": ["."]}, "files[0]: `.` holds the manifest"),
        ({"command": ["sh"], "files": ["data/..", "data"]}, "files[0]: `data/..` holds the manifest"),
        (
            {"command": ["sh"], "files": ["data", "./check.py", "check.py"]},
            "files[2]: files[1] is named `check.py`, too",
        ),
        ({"command": ["./run.sh"], "files": ["check.py"]}, "command[0]: `./run.sh` is none of `files`"),
        ({"command": ["sh"], "limits": {}}, "limits: an empty mapping"),
        ({"command": ["sh"], "limits": {"a": {}}}, "limits.a: needs `min` or `max`."),
        ({"command": ["sh"], "limits": {"a": {"mim": 1}}}, "limits.a.mim: unknown key."),
        ({"command": ["sh"], "limits": {"a b": {"min": 1}}}, "`a b` is not a figure's name"),
        ({"command": ["sh"], "limits": {"a": {"min": 2, "max": 1}}}, "`min` is more than `max`"),
    ],
)
def test_what_is_wrong_with_a_command_is_told_where_it_stands(
    command: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidManifestError) as caught:
        evaluate(tmp_path, command or {"files": []})
    assert message in str(caught.value)


def test_a_program_among_the_files_or_anywhere_on_the_machine_is_named_by_its_path(tmp_path: Path) -> None:
    for program, files in (("./check.py", ["check.py"]), ("data/x", ["data"]), ("/bin/sh", [])):
        assert evaluate(tmp_path, {"command": [program], "files": files}).command is not None


def test_a_test_command_changes_no_fingerprint(tmp_path: Path) -> None:
    found = set()
    for command in (None, {"command": ["sh"]}, {"command": ["sh"], "files": ["check.py"], "timeout": 5}):
        ((job, cell),) = plan(tmp_path, command).cells()
        found.add(fingerprint(cell, job, model_revision="m", calibration_revision="c"))
    assert len(found) == 1


def test_a_plan_says_what_is_run_and_held_to_what(tmp_path: Path) -> None:
    command = {"command": ["sh", "x"], "files": ["data"], "limits": {"a.b": {"max": 3}}}
    (job,) = plan_json(plan(tmp_path, command), {})["jobs"]
    assert job["evaluate"]["test_command"] == {
        "command": ["sh", "x"],
        "files": [str(tmp_path / "data")],
        "timeout": 3600,
        "limits": {"a.b": {"max": 3}},
    }
    (job,) = plan_json(plan(tmp_path, None), {})["jobs"]
    assert job["evaluate"]["test_command"] is None


def test_the_key_of_a_command_follows_its_words_and_its_files_and_not_its_time_limit(tmp_path: Path) -> None:
    given = {"command": ["sh"], "files": ["check.py", "data"]}
    spec = evaluate(tmp_path, given).command
    assert spec is not None
    assert command_key(replace(spec, timeout=5)) == command_key(spec)
    keys = {command_key(spec), command_key(replace(spec, words=("bash",)))}
    (tmp_path / "data" / "__pycache__").mkdir()
    (tmp_path / "data" / "__pycache__" / "x.pyc").write_text("")
    assert command_key(spec) in keys
    (tmp_path / "data" / "more").mkdir()
    (tmp_path / "data" / "more" / "rows.jsonl").write_text("{}")
    keys.add(command_key(spec))
    (tmp_path / "check.py").chmod(0o755)
    keys.add(command_key(spec))
    assert len(keys) == 4
    copy_files(spec, tmp_path / "copy")
    copied = [path.relative_to(tmp_path / "copy") for path in (tmp_path / "copy").rglob("*.*")]
    assert sorted(map(str, copied)) == ["check.py", "data/more/rows.jsonl", "data/rows.jsonl"]
    assert os.access(tmp_path / "copy" / "check.py", os.X_OK)


def test_files_that_no_command_can_have_are_told(tmp_path: Path) -> None:
    spec = evaluate(tmp_path, {"command": ["sh"], "files": ["data"]}).command
    assert spec is not None
    (tmp_path / "data" / "link").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="data/link is a link to a folder"):
        command_key(spec)
    (tmp_path / "data" / "link").unlink()
    os.mkfifo(tmp_path / "data" / "pipe")
    with pytest.raises(UsageError, match="data/pipe is neither a file nor a folder"):
        copy_files(spec, tmp_path / "copy")


def test_a_file_of_figures_is_an_object_of_names_and_numbers(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    assert read_figures(file) == {}
    file.write_text('{"accuracy": 0.5, "n": 3, "a.b-c_1": -1e3}')
    assert read_figures(file) == {"accuracy": 0.5, "n": 3, "a.b-c_1": -1000}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 50_000, "is not JSON"),
        ("\xff", "is not JSON"),
        ("[1]", "is no object of names and numbers"),
        ("3", "is no object of names and numbers"),
        ('{"a": NaN}', "has NaN, which is no number in JSON"),
        ('{"a": -Infinity}', "has -Infinity, which is no number in JSON"),
        ('{"a": 1e999}', "has a number as a that is not finite"),
        (f'{{"a": {"9" * 400}}}', "has a number as a that is not finite"),
        (f'{{"a": {"9" * 5000}}}', "is not JSON"),
        ('{"a": true}', "has true as a, which is no number"),
        ('{"a": "0.5"}', 'has "0.5" as a, which is no number'),
        ('{"a": {"b": 1}}', 'has {"b": 1} as a, which is no number'),
        ('{"a": null}', "has null as a, which is no number"),
        ('{"a": 1, "a": 2}', 'has "a" twice'),
        ('{"": 1}', 'has the name ""; allowed are at most 64 letters'),
        ('{"a|b": 1}', 'has the name "a|b"'),
        ('{"a\\n": 1}', 'has the name "a\\n"'),
        (json.dumps(dict.fromkeys(map(str, range(MAX_FIGURES + 1)), 1)), "has 101 figures"),
        (" " * 70_000, "is larger than 65536 bytes"),
    ],
)
def test_any_other_file_of_figures_is_told_in_a_sentence(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "figures.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(FiguresError) as caught:
        read_figures(tmp_path / "figures.json")
    assert str(caught.value).startswith(problem)


@pytest.mark.parametrize(
    ("result", "limits", "reasons"),
    [
        (RESULT, {"test_command": 0, "test_command.accuracy.min": 0.9, "test_command.p95.ms.max": 12}, []),
        (None, {"test_command": 0}, ["the test command was not run"]),
        (
            replace(RESULT, exit_code=2, fault="ended with exit code 2 (no)"),
            {"test_command": 0},
            ["the test command ended with exit code 2 (no)"],
        ),
        (
            RESULT,
            {"test_command.accuracy.min": 0.90001},
            ["test command: accuracy is 0.9, less than the least allowed 0.90001"],
        ),
        (RESULT, {"test_command.p95.ms.max": 3}, ["test command: p95.ms is 12, more than the allowed 3"]),
        (
            RESULT,
            {"test_command.speed.min": 0},
            ["the test command gave no figure speed, and its min is set"],
        ),
        (
            RESULT,
            {"test_command.accuracy.most": 0},
            ["test_command.accuracy.most is set, and this version has no such limit"],
        ),
    ],
)
def test_exit_code_and_figures_are_judged_by_the_gate(
    result: CommandResult | None, limits: dict[str, float], reasons: list[str]
) -> None:
    measured = replace(MEASURED, command=result)
    assert list(check_gate(measured, limits)) == reasons
    assert [verdict.key for verdict in judge_limits(measured, limits)] == list(limits)


def test_a_command_is_run_again_unless_it_passed_with_the_same_words_and_files(tmp_path: Path) -> None:
    spec = evaluate(tmp_path, {"command": ["sh"], "files": ["check.py"]})
    assert spec.command is not None

    def alike(result: CommandResult | None, spec: EvaluateSpec = spec) -> bool:
        return passed_before(replace(RECORD, measurements=replace(MEASURED, command=result)), spec)

    passed = replace(RESULT, key=command_key(spec.command))
    assert alike(passed)
    assert not alike(None)
    assert not alike(RESULT)
    assert not alike(replace(passed, exit_code=1, fault="ended with exit code 1"))
    assert alike(None, EvaluateSpec())
    assert not alike(passed, EvaluateSpec())


def test_what_a_command_gave_stands_in_report_card_page_and_summary() -> None:
    data = json.loads(json.dumps(record_to_json(TESTED)))
    assert data["test_command"]["figures"] == {"accuracy": 0.9, "p95.ms": 12}
    assert record_from_json(data).measurements == TESTED.measurements
    assert "test_command" not in record_to_json(RECORD)
    assert command_rows(TESTED) == [("<code>accuracy</code>", "0.9"), ("<code>p95.ms</code>", "12")]
    table = task_table([TESTED, replace(RECORD, id="other")])
    assert table is not None
    assert table.rows == (("test command: accuracy", "", "0.9"), ("test command: p95.ms", "", "12"))
    assert "accuracy |  | 0.9 |" in summary_markdown([TESTED])


def test_figures_of_a_checkpoint_that_its_reload_did_not_reproduce_are_not_shown() -> None:
    unproven = replace(TESTED, measurements=replace(MEASURED, command=RESULT, reload=None))
    assert command_rows(unproven) == []
    assert task_table([unproven]) is None


def test_question_and_answer_travel_as_json_and_a_foreign_answer_is_looked_at(tmp_path: Path) -> None:
    question = CommandQuestion(
        words=("sh", "{figures}"), checkpoint=None, folder=tmp_path, figures=tmp_path / "f", timeout=3
    )
    assert CommandQuestion.from_json(json.loads(json.dumps(question.to_json()))) == question
    answer = CommandAnswer(exit_code=0, figures={"a": 1.5}, seconds=2)
    data = json.loads(json.dumps(answer.to_json()))
    assert CommandAnswer.from_json(data) == answer
    wrongs: tuple[Any, ...] = (
        [],
        {},
        {**data, "exit_code": "0"},
        {**data, "exit_code": True},
        {**data, "problem": 3},
        {**data, "figures": {"<b>": 1}},
        {**data, "figures": {"a": float("nan")}},
        {**data, "seconds": None},
    )
    for wrong in wrongs:
        with pytest.raises(ValueError, match=r"it is no answer|no such exit code"):
            CommandAnswer.from_json(wrong)
    assert len(CommandAnswer.from_json({**data, "problem": "x" * 10_000}).problem or "") == 500
