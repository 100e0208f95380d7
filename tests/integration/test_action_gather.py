"""The last job of the reusable workflow: many reports, one summary, one exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from quantize_lib.report import read_report, write_report
from quantize_lib.report.records import CellRecord, CellStatus
from tests.support.action_runner import HARMLESS_COMMANDS, ROOT, read_commands, read_outputs

NOW = datetime(2026, 11, 25, tzinfo=UTC)
BASE = CellRecord(
    id="",
    model="acme/m",
    revision=None,
    method="gptq",
    bits=4,
    format="gptq",
    settings={},
    status="published",
    repository="m",
)


def record(cell: str, status: CellStatus, error: str | None = None) -> CellRecord:
    return replace(
        BASE, id=cell, status=status, error=error, commit="0" * 40 if status == "published" else None
    )


def gather(
    folder: Path, reports: Mapping[str, list[CellRecord]], cells: list[str]
) -> tuple[int, dict[str, str], str, str]:
    """Run the step; exit code, outputs, summary, log."""
    for name, records in reports.items():
        (folder / "reports" / name).mkdir(parents=True)
        write_report(folder / "reports" / name, records, started=NOW, finished=NOW, command="x")
    matrix = {"include": [{"job": "j", "cells": cell} for cell in cells]}
    environment = {
        **os.environ,
        "GITHUB_ACTIONS": "true",
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
    }
    (folder / "matrix.json").write_text(json.dumps(matrix), encoding="utf-8")
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "tools/action/gather.py"),
            str(folder / "matrix.json"),
            str(folder / "reports"),
            str(folder / "gathered"),
        ],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    outputs = read_outputs((folder / "output").read_text(encoding="utf-8"))
    return done.returncode, outputs, (folder / "summary.md").read_text(encoding="utf-8"), done.stdout


def test_reports_of_all_jobs_become_one_in_the_plans_order(tmp_path: Path) -> None:
    reports = {
        "b": [record("b-gptq-4bit", "gated", "perplexity rose")],
        "a": [record("a-gptq-4bit", "published"), record("a-awq-4bit", "skipped")],
    }
    code, outputs, summary, _ = gather(tmp_path, reports, ["b-gptq-4bit", "a-gptq-4bit a-awq-4bit"])
    assert code == 4
    ids = [cell.id for cell in read_report(tmp_path / "gathered")]
    assert ids == ["b-gptq-4bit", "a-gptq-4bit", "a-awq-4bit"]
    assert json.loads(outputs["counts"]) == {
        "published": 1,
        "built": 0,
        "skipped": 1,
        "failed": 0,
        "gated": 1,
    }
    assert [cell["id"] for cell in json.loads(outputs["published"])] == ["a-gptq-4bit"]
    assert summary.count("| cell |") == 1


def test_a_job_without_a_report_has_failed(tmp_path: Path) -> None:
    reports = {"a": [record("a-gptq-4bit", "published")]}
    code, outputs, summary, log = gather(tmp_path, reports, ["a-gptq-4bit", "lost-awq-4bit"])
    assert code == 3
    assert outputs["failed"] == "lost-awq-4bit"
    assert json.loads(outputs["counts"])["failed"] == 1
    assert "lost-awq-4bit**: its job left no report" in summary
    assert "::error title=Model Quantizer::lost-awq-4bit: its job left no report" in log


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([("published", None), ("skipped", None), ("built", None)], 0),
        ([("gated", "x"), ("built", "the Hub is down")], 5),
        ([("gated", "x"), ("built", "the Hub is down"), ("failed", "x")], 3),
    ],
)
def test_the_exit_code_is_that_of_all_jobs_together(
    tmp_path: Path, statuses: list[tuple[CellStatus, str | None]], code: int
) -> None:
    cells = {f"{number}-gptq-4bit": words for number, words in enumerate(statuses)}
    reports = {cell: [record(cell, *words)] for cell, words in cells.items()}
    assert gather(tmp_path, reports, list(cells))[0] == code


def test_a_plan_of_thousands_of_cells_is_read(tmp_path: Path) -> None:
    cells = [f"Llama-3.1-8B-Instruct-{number}-gptq-4bit" for number in range(5000)]
    # More than one variable of a process may hold.
    assert len(" ".join(cells)) > 128 * 1024
    code, outputs, _, _ = gather(tmp_path, {"a": [record(cell, "skipped") for cell in cells]}, cells)
    assert code == 0
    assert json.loads(outputs["counts"])["skipped"] == 5000


def test_nothing_to_do_is_well(tmp_path: Path) -> None:
    code, outputs, _, _ = gather(tmp_path, {}, [])
    assert code == 0
    assert json.loads(outputs["published"]) == []


def test_a_report_that_is_none_is_told_and_hurts_no_other(tmp_path: Path) -> None:
    (tmp_path / "reports" / "evil").mkdir(parents=True)
    (tmp_path / "reports" / "evil" / "report.json").write_text('{"version": "\\n::set-env name=X::y"}')
    code, _, _, log = gather(tmp_path, {"a": [record("a-gptq-4bit", "published")]}, ["a-gptq-4bit"])
    assert code == 0
    assert "::error title=Model Quantizer::evil: " in log


def test_what_a_report_says_stays_text(tmp_path: Path) -> None:
    words = "##[add-path]x\n::set-env name=PATH::y %0A::add-mask::z <script> | `x`"
    reports = {"a": [record("a-gptq-4bit", "failed", words)]}
    _, outputs, summary, log = gather(tmp_path, reports, ["a-gptq-4bit"])
    assert {command.name for command in read_commands(log)} <= HARMLESS_COMMANDS - {"add-mask"}
    assert "<script>" not in summary
    assert "##[" not in summary
    assert outputs["failed"] == "a-gptq-4bit"
