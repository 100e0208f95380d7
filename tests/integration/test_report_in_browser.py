"""`report.html` in a real browser: it asks for nothing else, and fits a phone as it fits a desk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from quantize_lib.errors import ErrorCode
from quantize_lib.report import write_report
from quantize_lib.report.page import PAGE_FILE
from tests.support.chromium import Browser, browser
from tests.support.records import MEASURED, RECORD

pytestmark = pytest.mark.browser

LONG = "a-model-with-a-long-name-" * 4
HOSTILE = '"><img src=https://evil.example/x.png onerror=alert(1)><script src=//evil.example/x.js></script>'


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report of cells with long and hostile words, pictures included."""
    folder = tmp_path_factory.mktemp("output")
    layers = {f"model.layers.{index}.mlp.down_proj": 0.01 * (index + 1) for index in range(30)}
    records = [
        replace(RECORD, layer_errors=layers),
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


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1400, 1000)], ids=["phone", "desk"])
def test_the_page_asks_for_nothing_and_nothing_sticks_out(
    opened: Browser, address: str, width: int, height: int, dark: bool
) -> None:
    opened.open(address, width=width, height=height, dark=dark)
    opened.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert opened.requests == [address]
    assert opened.messages == []
    assert opened.value("document.images.length + document.scripts.length") == 0
    assert opened.value("document.documentElement.scrollWidth") == width
    assert opened.too_wide() == []
    paper = opened.value("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(20, 23, 28)" if dark else "rgb(255, 255, 255)")
    # Pictures take the colour of the text.
    ink = opened.value("getComputedStyle(document.querySelector('figure svg text')).fill")
    assert ink == opened.value("getComputedStyle(document.body).color")
