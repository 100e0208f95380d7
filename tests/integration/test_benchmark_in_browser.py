"""`benchmark.html` in a real browser: it asks for nothing else, and fits a phone as it fits a desk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from quantize_lib.benchmark.page import benchmark_page
from quantize_lib.benchmark.records import Result
from tests.support.benchmarks import ANSWER, CASES, QUANTIZED, benchmark
from tests.support.chromium import Browser, browser

pytestmark = pytest.mark.browser

LONG = "a-model-with-a-long-name-" * 4
HOSTILE = '"><img src=https://evil.example/x.png onerror=alert(1)><script src=//evil.example/x.js></script>'


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A benchmark with long and hostile words."""
    failed = Result(
        subject=replace(QUANTIZED, name=LONG, kind=HOSTILE),
        answers=(replace(ANSWER, cases=CASES[:2], error=f"{HOSTILE} {'0' * 300}"),),
    )
    path: Path = tmp_path_factory.mktemp("page") / "benchmark.html"
    page = benchmark_page(replace(benchmark(failed, prompts=(LONG * 3, HOSTILE)), load_average=1e6))
    path.write_text(page, encoding="utf-8")
    return path.as_uri()


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
