"""Peak memory does not grow with a model's depth: real jobs on random weights."""

from __future__ import annotations

from pathlib import Path

from benchmarks.memory import DEPTH, depth_growth


def test_peak_memory_of_two_and_of_six_blocks_differs_by_less_than_one_block(tmp_path: Path) -> None:
    assert abs(depth_growth(tmp_path, DEPTH, blocks=(2, 6))) < DEPTH.block_values * 4
