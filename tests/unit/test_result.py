"""The answer of the quantizing process: typed on both sides, and foreign where the host reads it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quantize_lib.errors import CheckpointError, EngineError, ErrorCode
from quantize_lib.files import read_json, write_json
from quantize_lib.job.result import FailedCell, JobResult, QuantizedCell, read_result, write_result
from tests.support.records import MEASURED, RELOAD, TEXT

QUANTIZED = QuantizedCell(
    seconds=1.5,
    size_after=8,
    format="gptq",
    group_size=-1,
    notes=("a note",),
    errors={"model.layers.0.mlp.up_proj": 0.25, "other": None},
    figures=MEASURED.figures,
    texts={"code": MEASURED.figures},
    reload=replace(RELOAD, modes=("compressed",), unrounded_inputs={"perplexity": 35.5}),
)
RESULT = JobResult(
    job="m-cpu",
    device="cpu",
    versions={"torch": "2"},
    peak_memory_bytes=7,
    cells={
        "whole": QUANTIZED,
        "bare": QuantizedCell(seconds=0.0, size_after=0, format="bitsandbytes"),
        "failed": FailedCell.of(EngineError("no", hint="Do.")),
    },
    shared_seconds=2.0,
    calibration=TEXT,
    evaluation=replace(TEXT, short=True),
    texts={"code": replace(TEXT, shared=3)},
)


@pytest.mark.parametrize(
    "result",
    [RESULT, JobResult(job="m", device="auto", versions={}, peak_memory_bytes=0, cells={})],
    ids=["whole", "bare"],
)
def test_it_comes_back_as_it_was(result: JobResult, tmp_path: Path) -> None:
    write_result(tmp_path / "result.json", result)
    assert read_result(tmp_path / "result.json") == result


def test_a_failed_cell_says_why_to_people_and_to_programs(tmp_path: Path) -> None:
    write_result(tmp_path / "result.json", RESULT)
    failed = read_result(tmp_path / "result.json").first_failed()
    assert failed == FailedCell(error="no\n  Do.", code=ErrorCode.ENGINE)
    assert read_json(tmp_path / "result.json")["cells"]["failed"] == {"error": "no\n  Do.", "code": "engine"}


def test_an_error_of_a_layer_that_is_not_finite_does_not_spoil_the_rest(tmp_path: Path) -> None:
    cell = replace(QUANTIZED, errors={"layer": math.nan})
    write_result(tmp_path / "result.json", replace(RESULT, cells={"whole": cell}))
    back = read_result(tmp_path / "result.json").cells["whole"]
    assert isinstance(back, QuantizedCell)
    assert back.errors == {"layer": None}


def _changed(tmp_path: Path, *path: str, value: Any) -> Path:
    write_result(tmp_path / "result.json", RESULT)
    data = read_json(tmp_path / "result.json")
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    write_json(tmp_path / "result.json", data)
    return tmp_path / "result.json"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), 2),
        (("more",), 1),
        (("cells", "whole"), {}),
        (("cells", "whole"), {"error": "no"}),
        (("cells", "failed", "code"), "unheard_of"),
        (("cells", "failed", "seconds"), 1.0),
        (("cells", "whole", "seconds"), -1),
        (("cells", "whole", "size_after"), 2**60),
        (("cells", "whole", "format"), "x" * 101),
        (("cells", "whole", "notes"), ["x"] * 10_001),
        (("cells", "whole", "figures", "perplexity"), {"after": 1.0}),
        (("cells", "whole", "figures", "perplexity", "after"), math.nan),
        (("cells", "whole", "reload", "sample", "perplexity", "reloaded"), "1"),
        (("cells", "whole", "reload", "reproduced"), "yes"),
        (("versions", "torch"), "\ud800"),
    ],
)
def test_what_is_not_as_its_schema_says_is_no_result(
    path: tuple[str, ...], value: Any, tmp_path: Path
) -> None:
    if value == "\ud800":
        write_result(tmp_path / "result.json", RESULT)
        text = (tmp_path / "result.json").read_text(encoding="utf-8")
        (tmp_path / "result.json").write_text(text.replace('"torch": "2"', '"torch": "\\ud800"'))
        file = tmp_path / "result.json"
    else:
        file = _changed(tmp_path, *path, value=value)
    with pytest.raises(CheckpointError, match="left no usable result"):
        read_result(file)


def test_a_figure_of_a_metric_that_is_not_known_here_is_left_out(tmp_path: Path) -> None:
    figure = {"before": None, "after": 1.0, "standard_error": None}
    back = read_result(_changed(tmp_path, "cells", "whole", "figures", "confusion", value=figure))
    cell = back.cells["whole"]
    assert isinstance(cell, QuantizedCell)
    assert cell.figures == QUANTIZED.figures


def test_no_file_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="left no usable result"):
        read_result(tmp_path / "result.json")
