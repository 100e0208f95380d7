"""The same work for many items at once: in order, as it comes, and no further than the first failure."""

from __future__ import annotations

import threading

import pytest

from quantize_lib.parallel import in_parallel, one_by_one


def test_results_stand_in_the_order_of_the_items() -> None:
    later = threading.Event()

    def work(item: int) -> int:
        # The first waits for the second, so both are under way.
        if item:
            later.set()
        else:
            assert later.wait(10)
        return item * 2

    assert in_parallel(work, [0, 1], at_once=2) == [0, 2]


def test_a_result_comes_before_the_work_on_the_next_is_done() -> None:
    release = threading.Event()

    def work(item: int) -> int:
        assert item == 0 or release.wait(10)
        return item

    found = one_by_one(work, [0, 1], at_once=2)
    assert next(found) == 0
    release.set()
    assert list(found) == [1]


@pytest.mark.parametrize("at_once", [1, 2])
def test_what_has_not_begun_when_one_fails_never_begins(at_once: int) -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        if not item:
            raise ValueError("no")
        return item

    with pytest.raises(ValueError, match="no"):
        in_parallel(work, list(range(50)), at_once=at_once)
    assert len(begun) < 50
