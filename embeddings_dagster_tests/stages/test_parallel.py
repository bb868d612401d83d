"""A map over threads: order kept, memory bounded, threads gone afterwards."""

import threading
import time
from collections.abc import Iterator

import pytest

from embeddings_dagster.stages.parallel import ordered_map


def stage_threads() -> int:
    return sum(each.name.startswith("stage") for each in threading.enumerate())


def test_results_come_in_the_order_of_the_items() -> None:
    def slower_first(number: int) -> int:
        time.sleep(0.002 * (5 - number % 5))
        return number * number

    assert list(ordered_map(slower_first, range(40), threads=4)) == [number * number for number in range(40)]


def test_no_more_items_are_taken_than_results_may_wait() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number

    results = ordered_map(lambda number: number, items(), threads=2, ahead=2)
    for _ in range(10):
        next(results)
    assert taken <= 10 + 2 * 2
    results.close()  # type: ignore[attr-defined]


def test_an_exception_comes_out_in_its_turn_and_the_threads_end() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    results = ordered_map(work, range(10), threads=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert stage_threads() == 0


def test_threads_end_when_the_consumer_stops_early() -> None:
    results = ordered_map(lambda number: number, range(100), threads=3)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert stage_threads() == 0


def test_what_is_at_work_and_waiting_weighs_no_more_than_allowed() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for weight in (5, 3, 2, 9, 40, 1, 1):
            taken.append(weight)
            yield weight

    results = ordered_map(lambda weight: weight, items(), threads=4, weight=lambda weight: weight, most=10)
    out, begun = [], []
    for result in results:
        out.append(result)
        begun.append(len(taken) - 1)  # the last one taken waits for this result to be gone
    assert out == [5, 3, 2, 9, 40, 1, 1]
    assert begun[:5] == [3, 3, 3, 4, 5], "10 begun; nothing beside 9; the heavy one alone"
