"""`report.json`, the tables and the exit code."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from quantize_lib.errors import ErrorCode, ExitCode, UsageError
from quantize_lib.metrics import Outcome, Verdict
from quantize_lib.report import (
    REPORT_FILE,
    checkpoint_record,
    exit_code,
    read_publish_spec,
    read_report,
    record_from_json,
    record_to_json,
    summary_markdown,
    summary_table,
    write_report,
)
from quantize_lib.report.records import CellRecord, CellStatus, TextFigures
from quantize_lib.report.report_schema import report_schema
from quantize_lib.targets import publish_spec
from tests.support.records import MEASURED, RECORD, RELOAD, TEXT, with_figure, with_sample

TIMES: dict[str, Any] = {
    "started": datetime(2026, 11, 25, 1, 2, 3, tzinfo=UTC),
    "finished": datetime(2026, 11, 25, 1, 9, 3, tzinfo=UTC),
}
BARE = CellRecord(
    id="x-bnb-4bit",
    model="./x",
    revision=None,
    method="bitsandbytes",
    bits=4,
    format="gptq",
    settings={},
    status="failed",
    error="not started",
)


def _write(folder: Path, *records: CellRecord, **more: Any) -> dict[str, Any]:
    path = write_report(folder, records, **TIMES, command="model-quantizer run quantize.yml", **more)
    document: dict[str, Any] = json.loads(path.read_text(), parse_constant=pytest.fail)
    Draft202012Validator.check_schema(report_schema())
    Draft202012Validator(report_schema()).validate(document)
    return document


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    page = "https://huggingface.co/acme/tiny/tree/" + "d" * 40
    records = (
        replace(RECORD, url=page),
        BARE,
        replace(RECORD, measurements=replace(MEASURED, evaluation=None, reload=None)),
    )
    _write(tmp_path, *records)
    assert read_report(tmp_path) == records


def test_figures_that_others_script_against_stand_flat(tmp_path: Path) -> None:
    (cell,) = _write(tmp_path, RECORD)["cells"]
    assert {
        key: cell[key]
        for key in (
            "id",
            "model",
            "revision",
            "method",
            "bits",
            "status",
            "error",
            "code",
            "path",
            "repository",
            "commit",
        )
    } == {
        "id": "SmolLM2-135M-Instruct-gptq-4bit",
        "model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "revision": "a" * 40,
        "method": "gptq",
        "bits": 4,
        "status": "published",
        "error": None,
        "code": None,
        "path": "SmolLM2-135M-Instruct-gptq-4bit",
        "repository": "acme/SmolLM2-135M-Instruct-gptq-4bit",
        "commit": "d" * 40,
    }
    assert (cell["size_before"], cell["size_after"]) == (269_060_552, 118_000_000)
    assert (cell["seconds"], cell["peak_memory_bytes"]) == (75.2, 1_234_567_890)
    assert (cell["perplexity_before"], cell["perplexity_after"], cell["kl_divergence"]) == (
        32.37,
        36.05,
        0.1123,
    )


@pytest.mark.parametrize("code", ErrorCode)
def test_an_error_has_a_code_that_comes_back(code: ErrorCode, tmp_path: Path) -> None:
    record = replace(BARE, code=code)
    (cell,) = _write(tmp_path, record)["cells"]
    assert (cell["error"], cell["code"]) == ("not started", code.value)
    assert read_report(tmp_path) == (record,)


def test_an_error_of_a_report_without_codes_has_none() -> None:
    data = record_to_json(BARE)
    del data["code"]
    assert record_from_json(data) == BARE
    assert record_from_json({**data, "code": "unheard_of"}).code is ErrorCode.OTHER


def test_the_same_figures_stand_by_name_with_unit_and_uncertainty(tmp_path: Path) -> None:
    cell, bare = _write(tmp_path, RECORD, BARE)["cells"]
    assert cell["figures"] == {
        "perplexity": {"before": 32.37, "after": 36.05, "unit": "per token", "standard_error": 1.75},
        "kl_divergence": {"before": None, "after": 0.1123, "unit": "nats per token", "standard_error": 0.004},
    }
    assert bare["figures"] == {}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_figure_that_is_not_finite_is_null(value: float, tmp_path: Path) -> None:
    measured = with_figure(MEASURED, "perplexity", after=value, standard_error=value)
    measured = replace(measured, reload=with_sample(RELOAD, "perplexity", reloaded=value))
    (cell,) = _write(tmp_path, replace(RECORD, measurements=measured, settings={"damp": [value]}))["cells"]
    assert cell["perplexity_after"] is cell["reload"]["sample_perplexity"] is None
    assert cell["figures"]["perplexity"]["after"] is cell["figures"]["perplexity"]["standard_error"] is None
    assert cell["settings"] == {"damp": [None]}


def test_a_run_says_when_it_was_and_how_to_repeat_it(tmp_path: Path) -> None:
    document = _write(tmp_path)
    assert document["started"] == "2026-11-25T01:02:03+00:00"
    assert document["command"] == "model-quantizer run quantize.yml"
    assert "model-quantizer" in document["versions"]
    assert document["cells"] == []


def test_where_it_was_published_to_comes_back_even_after_a_move(tmp_path: Path) -> None:
    spec = publish_spec("directory", path=tmp_path / "a" / "published", private=False)
    (tmp_path / "a" / "output").mkdir(parents=True)
    _write(tmp_path / "a" / "output", publish=spec)
    assert read_publish_spec(tmp_path / "a" / "output") == spec
    (tmp_path / "a").rename(tmp_path / "b")
    moved = publish_spec("directory", path=tmp_path / "b" / "published", private=False)
    assert read_publish_spec(tmp_path / "b" / "output") == moved


def test_publishing_to_the_hub_or_nowhere_comes_back(tmp_path: Path) -> None:
    spec = publish_spec(
        "hub",
        private=False,
        terms_allow_public=True,
        tag=True,
        collection="{model}, small",
    )
    _write(tmp_path, publish=spec)
    assert read_publish_spec(tmp_path) == spec
    _write(tmp_path)
    assert read_publish_spec(tmp_path) is None


def test_a_checkpoint_does_not_carry_what_only_the_run_knows() -> None:
    data = checkpoint_record(RECORD)
    assert not {"status", "error", "code", "path", "commit"} & data.keys()
    assert data["fingerprint"] == "e" * 64
    assert data["files"] == {"config.json": "f" * 64}


def test_no_report_bad_json_and_a_foreign_form_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"report\.json cannot be read: No such file or directory"):
        read_report(tmp_path)
    (tmp_path / REPORT_FILE).write_text("{")
    with pytest.raises(UsageError, match=r"report\.json is not JSON"):
        read_report(tmp_path)
    (tmp_path / REPORT_FILE).write_text('{"version": 2}')
    with pytest.raises(UsageError, match=r"report\.json: \$"):
        read_report(tmp_path)


@pytest.mark.parametrize("path", ["..", ".", "../x", "a/b", "/etc"])
def test_a_path_that_leaves_the_folder_is_refused(path: str, tmp_path: Path) -> None:
    write_report(tmp_path, [replace(RECORD, path=path)], **TIMES, command="x")
    with pytest.raises(UsageError, match=r"\$\.cells\[0\]\.path"):
        read_report(tmp_path)


def test_measurements_are_there_whole_or_not_at_all(tmp_path: Path) -> None:
    document = _write(tmp_path, RECORD)
    document["cells"][0]["size_before"] = None
    assert not Draft202012Validator(report_schema()).is_valid(document)
    document = _write(tmp_path, RECORD)
    document["cells"][0]["seconds"] = None
    assert not Draft202012Validator(report_schema()).is_valid(document)


def _with(status: CellStatus, error: str | None = None) -> CellRecord:
    return replace(RECORD, status=status, error=error)


@pytest.mark.parametrize(
    ("records", "code"),
    [
        ((), ExitCode.OK),
        ((_with("published"), _with("built"), _with("skipped")), ExitCode.OK),
        ((_with("gated", "rose"),), ExitCode.GATE_MISSED),
        ((_with("gated", "rose"), _with("built", "disk full")), ExitCode.PUBLISH_FAILED),
        ((_with("gated", "rose"), _with("built", "disk full"), _with("failed", "x")), ExitCode.CELL_FAILED),
    ],
)
def test_the_exit_code_is_the_gravest(records: tuple[CellRecord, ...], code: ExitCode) -> None:
    assert exit_code(records) is code


def test_publishing_that_failed_elsewhere_counts() -> None:
    assert exit_code([_with("gated")], publish_failed=True) is ExitCode.PUBLISH_FAILED
    assert exit_code([_with("failed")], publish_failed=True) is ExitCode.CELL_FAILED


def test_the_table_is_aligned_and_says_errors_below() -> None:
    assert summary_table([RECORD, BARE]).splitlines() == [
        "cell                             status                    size     perplexity      KL  "
        "top token        time  peak memory",
        "───────────────────────────────  ─────────  ───────────────────  ─────────────  ──────  "
        "─────────  ──────────  ───────────",
        "SmolLM2-135M-Instruct-gptq-4bit  published  269.1 MB → 118.0 MB  32.37 → 36.05  0.1123  "
        "           1 min 15 s       1.2 GB",
        "x-bnb-4bit                       failed",
        "x-bnb-4bit: not started",
    ]


def test_the_step_summary_is_a_table_in_markdown_with_what_failed_and_what_to_do() -> None:
    failed = replace(BARE, id="b", error="no such model\n  Perhaps you meant acme/model.")
    summary = summary_markdown([failed, replace(RECORD, id="a", error=None)])
    assert summary.partition("\n<details>")[0] == (
        "| cell | status | size | perplexity | KL | top token | time | peak memory |\n"
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| b | failed |  |  |  |  |  |  |\n"
        "| a **best** | published | 269.1 MB → 118.0 MB | 32.37 → 36.05 | 0.1123 |  | 1 min 15 s | 1.2 GB |\n"
        "\n"
        "**best**: A cell is best at its size where no other cell of its model, measured on the same text, "
        "is at most as large and at least as good by KL divergence, and better in one of the two.\n"
        "\n"
        "- **b**: no such model **What to do:** Perhaps you meant acme/model.\n"
    )


def test_the_step_summary_has_the_smallest_first_a_chart_and_the_settings_folded() -> None:
    eight = with_figure(replace(MEASURED, size_after=165_000_000), "kl_divergence", after=0.0008)
    larger = replace(RECORD, id='x-8"bit', measurements=eight)
    summary = summary_markdown([larger, replace(RECORD, id="x-4bit")])
    assert summary.index("| x-4bit **best** |") < summary.index("| x-8&#34;bit **best** |")
    assert (
        "```mermaid\nxychart-beta\n"
        '  x-axis ["4bit 118.0 MB", "8_bit 165.0 MB"]\n'
        '  y-axis "KL divergence, nats per token"\n'
        "  bar [0.112300, 0.000800]\n```\n"
    ) in summary
    folded = summary.partition("<details>\n<summary>Settings as resolved</summary>\n\n")[2]
    assert "| x-4bit | gptq | method&#58; &#34;gptq&#34;; bits&#58; 4; group&#95;size&#58; 64; " in folded
    assert folded.endswith("\n\n</details>\n")


def test_one_cell_alone_has_no_chart() -> None:
    assert "mermaid" not in summary_markdown([RECORD])


def test_the_step_summary_leads_to_what_is_published() -> None:
    page = "https://huggingface.co/acme/tiny/tree/" + "d" * 40
    line = summary_markdown([replace(RECORD, id="a", url=page)]).splitlines()[2]
    assert line.startswith(f"| a **best** | [published]({page}) | 269.1 MB")


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "https://x.example/a) [b](c", "https://x.example/a|b"]
)
def test_a_reports_address_that_is_more_than_an_address_is_refused(url: str, tmp_path: Path) -> None:
    path = write_report(tmp_path, [replace(RECORD, url=url)], **TIMES, command="x")
    with pytest.raises(UsageError, match="url"):
        read_report(path.parent)


HOSTILE = "a|b\n<script>alert(1)</script>\x1b[31m::error::`x` [y](z) {{ 7 }} \u202e"


def test_foreign_text_is_shown_and_never_obeyed() -> None:
    record = replace(RECORD, id=HOSTILE, error=HOSTILE)
    table = summary_table([record])
    assert "\x1b" not in table
    assert "\u202e" not in table
    assert len(table.splitlines()) == 4
    markdown = summary_markdown([record])
    assert len(markdown.splitlines()) == 16
    for part in ("<script>", "\x1b", "::error", "`x`", "[y](z)", "{{"):
        assert part not in markdown
    assert all(line.count("|") == 9 for line in markdown.splitlines()[:3])


def test_a_step_summary_never_grows_beyond_what_github_takes() -> None:
    summary = summary_markdown([replace(BARE, error="é" * 1990)] * 600)
    assert len(summary.encode()) <= 2**20
    assert summary.endswith("a step summary holds at most 1 MiB.\n")


def test_further_texts_and_verdicts_come_back(tmp_path: Path) -> None:
    further = TextFigures(text=replace(TEXT, shared=2), figures=MEASURED.figures)
    verdict = Verdict(key="texts.code.max_kl_divergence", outcome=Outcome.MISSED_WITHIN_ERROR, text="no")
    record = replace(RECORD, measurements=replace(MEASURED, texts={"code": further}), verdicts=(verdict,))
    (cell,) = _write(tmp_path, record)["cells"]
    assert cell["texts"]["code"]["evaluation"]["shared"] == 2
    assert cell["texts"]["code"]["figures"] == cell["figures"]
    assert cell["verdicts"] == [
        {"limit": "texts.code.max_kl_divergence", "outcome": "missed_within_error", "text": "no"}
    ]
    assert read_report(tmp_path) == (record,)
    plain = record_to_json(RECORD)
    assert not {"texts", "verdicts"} & plain.keys()
    assert "shared" not in plain["evaluation"]
