"""Several cells at work on one block, each on a thread of its own.

Much of what a cell does keeps one core busy, column by column. Each thread may use as many cores as a single
cell may: in how many parts a product is computed can show in its last bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import torch

from quantize_lib.engine.calibrator import CalibratedBlock
from quantize_lib.engine.methods.threads import start_thread

Work = Callable[[CalibratedBlock], None]
"""What a cell makes of a block; the block is afterwards as it was."""


class Lanes:
    """Threads for the cells of a pass.

    Args:
        count: how many cells work at a time; with 1 they work on the caller's thread.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool = ThreadPoolExecutor(
            count, "cell", initializer=start_thread, initargs=(torch.get_num_threads(),)
        )

    def close(self) -> None:
        """End them."""
        self._pool.shutdown(cancel_futures=True)

    def run(self, block: CalibratedBlock, works: Sequence[Work]) -> list[float]:
        """Do all of them.

        Returns:
            Seconds of each; together they are those that it took.

        Raises:
            What one of them raises.
        """
        twins = [block.twin() for _ in range(min(self._count, len(works)) - 1)]
        blocks = [block, *(twin for twin in twins if twin is not None)]
        if len(blocks) == 1:
            return [_timed(work, block) for work in works]
        started = time.monotonic()
        free: SimpleQueue[CalibratedBlock] = SimpleQueue()
        for one in blocks:
            free.put(one)

        def do(work: Work) -> float:
            twin = free.get()
            try:
                # Each thread has a mode of its own.
                with torch.inference_mode():
                    return _timed(work, twin)
            finally:
                free.put(twin)

        seconds = list(self._pool.map(do, works))
        share = (time.monotonic() - started) / max(sum(seconds), 1e-9)
        return [one * share for one in seconds]


def _timed(work: Work, block: CalibratedBlock) -> float:
    started = time.monotonic()
    work(block)
    return time.monotonic() - started
