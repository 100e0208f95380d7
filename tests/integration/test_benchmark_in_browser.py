"""`benchmark.html` in a real browser: it asks for nothing else, and fits a phone as it fits a desk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from quantize_lib.benchmark.page import benchmark_page
from quantize_lib.benchmark.records import Result
from tests.support.benchmarks import ANSWER, CASES, QUANTIZED, benchmark
from tests.support.chromium import Browser
from tests.support.page_checks import HOSTILE, LONG, assert_stands_alone_and_fits, every_view

pytestmark = pytest.mark.browser


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


@every_view
def test_the_page_asks_for_nothing_and_nothing_sticks_out(
    opened: Browser, address: str, width: int, height: int, dark: bool
) -> None:
    assert_stands_alone_and_fits(opened, address, width=width, height=height, dark=dark)
