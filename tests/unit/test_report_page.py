"""`report.html`: what it says, and that foreign words in it are words."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from quantize_lib.errors import ErrorCode
from quantize_lib.report import write_report
from quantize_lib.report.page import PAGE_FILE, PageHead, report_page
from quantize_lib.report.records import CellRecord
from tests.support.records import MEASURED, RECORD, RELOAD, with_figure

STARTED, FINISHED = datetime(2026, 11, 25, 1, tzinfo=UTC), datetime(2026, 11, 25, 2, tzinfo=UTC)
HOSTILE = "<script>alert('x')</script>\"' $x^2$ {{ 7*7 }}"
EIGHT = replace(
    RECORD,
    id="SmolLM2-135M-Instruct-gptq-8bit",
    bits=8,
    measurements=with_figure(replace(MEASURED, size_after=165_000_000), "kl_divergence", after=0.0008),
    layer_errors={"model.layers.0.mlp.up_proj": 0.002, "model.layers.1.mlp.up_proj": 0.0525},
    url="https://huggingface.co/acme/it/tree/" + "d" * 40,
)
FAILED = replace(
    RECORD,
    id="SmolLM2-135M-Instruct-awq-4bit",
    status="failed",
    error="no such data set: acme/text\n  Perhaps you meant acme/texts.",
    code=ErrorCode.CALIBRATION,
    measurements=None,
    path=None,
)


def page(
    *records: CellRecord, command: str = "model-quantizer run quantize.yml", folder: Path = Path("nowhere")
) -> str:
    return report_page(
        records,
        PageHead(started=STARTED, finished=FINISHED, command=command, versions={"model-quantizer": "0.1.0"}),
        folder,
    )


def words(html: str) -> str:
    """The page's text, white space as a browser shows it."""
    body = html.partition("<body>")[2]
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def test_the_page_lies_beside_the_report(tmp_path: Path) -> None:
    write_report(tmp_path, [RECORD], started=STARTED, finished=FINISHED, command="x")
    assert PAGE_FILE == "report.html"
    assert RECORD.id in (tmp_path / PAGE_FILE).read_text(encoding="utf-8")


def test_cells_have_their_figures_with_errors_the_smallest_first_and_the_best_are_marked() -> None:
    beaten = replace(
        EIGHT, id="beaten", measurements=replace(MEASURED, size_after=170_000_000, figures=MEASURED.figures)
    )
    html = page(EIGHT, RECORD, beaten)
    text = words(html)
    assert "118.0 MB (44%)" in text
    assert "32.37 → 36.05 ± 1.8" in text
    assert "0.1123 ± 0.0040" in text
    rows = re.findall(r'<tr(?: class="(best)")?>\n<th scope="row">', html.partition("<h2>Settings")[0])
    assert rows == ["best", "best", ""]
    assert text.index(RECORD.id) < text.index(EIGHT.id) < text.index("beaten")
    assert "no other cell of its model" in text


def test_what_failed_stands_first_with_why_and_what_to_do() -> None:
    text = words(page(RECORD, FAILED))
    assert "1 published 1 failed" in text
    assert "no such data set: acme/text What to do: Perhaps you meant acme/texts." in text
    assert text.index("What needs attention") < text.index("Cells")


def test_a_run_without_failures_has_no_such_part() -> None:
    assert "What needs attention" not in page(RECORD)


def test_figures_that_the_reload_did_not_reproduce_are_not_shown() -> None:
    unproven = replace(RECORD, measurements=replace(MEASURED, reload=replace(RELOAD, reproduced=False)))
    text = words(page(unproven))
    assert "not reproduced" in text
    assert "36.05" not in text
    assert "0.1123" not in text


def test_links_lead_to_cards_beside_the_page_and_to_repositories(tmp_path: Path) -> None:
    checkpoint = tmp_path / str(RECORD.path)
    assert "README.md" not in page(EIGHT, folder=tmp_path)
    checkpoint.mkdir()
    (checkpoint / "README.md").touch()
    html = page(EIGHT, folder=tmp_path)
    assert f'href="./{RECORD.path}/README.md"' in html
    assert f'href="{EIGHT.url}"' in html


def test_an_address_that_is_not_of_the_web_is_no_link() -> None:
    html = page(replace(RECORD, url="javascript:alert(1)"))
    assert "javascript:" not in html


def test_pictures_show_quality_layers_and_cost() -> None:
    html = page(RECORD, EIGHT)
    assert html.count("<figure>") == 4
    for label in ("KL divergence against size on disk", "Error by layer", "Peak memory once loaded"):
        assert f'aria-label="{label}' in html
    assert "model.layers.1.mlp.up_proj" in html
    assert "5.25%" in html


def test_a_run_of_which_nothing_was_measured_has_no_pictures() -> None:
    assert "<figure>" not in page(FAILED)


@pytest.mark.parametrize("model", [RECORD.model, HOSTILE])
def test_foreign_words_are_words_everywhere(model: str) -> None:
    record = replace(
        RECORD,
        id=HOSTILE,
        model=model,
        path=HOSTILE,
        repository=HOSTILE,
        error=f"{HOSTILE}\n  {HOSTILE}",
        status="gated",
        settings={HOSTILE: HOSTILE, "nested": {HOSTILE: [HOSTILE]}},
        notes=(HOSTILE,),
        versions={HOSTILE: HOSTILE},
        layer_errors={f"model.layers.0.{HOSTILE}": 0.1},
    )
    html = page(record, EIGHT, command=HOSTILE)
    assert "<script" not in html
    assert "alert(&#39;x&#39;)" in html
    assert "49" not in re.findall(r">([^<]*7\*7[^<]*)<", html)[0]


def test_the_same_report_gives_the_same_page() -> None:
    assert page(RECORD, EIGHT, FAILED) == page(RECORD, EIGHT, FAILED)
