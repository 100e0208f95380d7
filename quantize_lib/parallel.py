"""The same work for many items at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
    return list(one_by_one(work, items, at_once=at_once))


def one_by_one(work: Callable[[_Item], _T], items: Sequence[_Item], *, at_once: int) -> Iterator[_T]:
    """As `in_parallel`, each result as soon as it and those before it are there."""
    if len(items) < 2 or at_once == 1:
        # In this thread a signal also ends what has begun.
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(at_once)
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)
