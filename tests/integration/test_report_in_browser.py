"""`report.html` in a real browser: it asks for nothing else, and fits a phone as it fits a desk."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from quantize_lib.command.spec import CommandResult
from quantize_lib.errors import ErrorCode
from quantize_lib.report import write_report
from quantize_lib.report.page import PAGE_FILE
from tests.support.chromium import Browser
from tests.support.page_checks import HOSTILE, LONG, assert_stands_alone_and_fits, every_view
from tests.support.records import MEASURED, RECORD

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report of cells with long and hostile words, pictures included."""
    folder = tmp_path_factory.mktemp("output")
    layers = {f"model.layers.{index}.mlp.down_proj": 0.01 * (index + 1) for index in range(30)}
    tested = CommandResult(exit_code=0, fault=None, figures={"a" * 64: 1e300}, seconds=1, key="k")
    records = [
        replace(RECORD, layer_errors=layers, measurements=replace(MEASURED, command=tested)),
        replace(RECORD, id=LONG, path=LONG, notes=(LONG * 3,), settings={"dynamic": {LONG: {"bits": 8}}}),
        replace(
            RECORD,
            id="hostile",
            model=HOSTILE,
            status="failed",
            error=f"{HOSTILE}\n  {'0' * 300}",
            code=ErrorCode.ENGINE,
            measurements=replace(MEASURED, size_after=1),
        ),
    ]
    now = datetime(2026, 11, 25, tzinfo=UTC)
    write_report(folder, records, started=now, finished=now, command=f"model-quantizer run {LONG}.yml")
    return (folder / PAGE_FILE).as_uri()


@every_view
def test_the_page_asks_for_nothing_and_nothing_sticks_out(
    opened: Browser, address: str, width: int, height: int, dark: bool
) -> None:
    assert_stands_alone_and_fits(opened, address, width=width, height=height, dark=dark)
    # Pictures take the colour of the text.
    ink = opened.value("getComputedStyle(document.querySelector('figure svg text')).fill")
    assert ink == opened.value("getComputedStyle(document.body).color")
