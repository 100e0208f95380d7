"""Peak memory does not grow with a model's depth, and is about what `plan` says: runs of random weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.memory import DEPTH, TOLERANCE, depth_growth, measure

SHAPE = replace(DEPTH, mlp=5632)
"""A block is 38 MB in float32; from run to run the peak moves by some 10 MB."""


def test_peak_memory_of_two_and_of_ten_blocks_differs_by_less_than_one_block(tmp_path: Path) -> None:
    assert abs(depth_growth(tmp_path, SHAPE, blocks=(2, 10))) < SHAPE.block_values * 4


def test_the_plan_is_near_the_measurement(tmp_path: Path) -> None:
    cells = [("gptq", 4), ("awq", 4), ("bitsandbytes", 8)]
    shape = replace(SHAPE, blocks=1, hidden=1024, vocabulary=8000)
    run = measure(tmp_path, shape, cells, samples=8, evaluation=4)
    assert abs(run.ratio - 1) < TOLERANCE
