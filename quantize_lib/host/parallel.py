"""The same work for many items at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

CONNECTIONS = 16
"""Requests under way at a time."""

_T = TypeVar("_T")
_Item = TypeVar("_Item")


def in_parallel(
    work: Callable[[_Item], _T], items: Sequence[_Item], *, at_once: int = CONNECTIONS
) -> list[_T]:
    """`work` for each item, in order; what has not begun when one fails or a signal comes never begins."""
    if len(items) < 2 or at_once == 1:
        # In this thread a signal also ends what has begun.
        return [work(item) for item in items]
    pool = ThreadPoolExecutor(at_once)
    try:
        return list(pool.map(work, items))
    finally:
        pool.shutdown(cancel_futures=True)
