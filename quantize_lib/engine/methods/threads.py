"""One thread for many small operations, all of them for large ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def start_thread(threads: int) -> None:
    """Give a new thread its number of threads.

    Its first operation gives it the number that was set last, by whichever thread, unless it was asked for
    before that.
    """
    torch.get_num_threads()
    torch.set_num_threads(threads)


SMALL = 1 << 22
"""Elements of a matrix up to which its products run on one thread too."""


@contextmanager
def one_thread(*, elements: int = 0) -> Iterator[None]:
    """Run operations on this thread alone, unless the matrices they work on are large.

    Spread over cores, each small operation would wait for the slowest: a column takes microseconds, a core
    that something else keeps busy answers after milliseconds. Where others worked on both cores of a machine,
    a block of a 135M model took 3 to 40 s so, and 0.9 s on one thread (measured).

    Args:
        elements: of the largest matrix; 0 where the operations are small whatever the layer's size.
    """
    if elements > SMALL:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
