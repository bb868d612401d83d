"""A map over threads that keeps order and holds only a few items in memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int,
    ahead: int = 2,
    weight: Callable[[Item], int] = lambda _: 0,
    most: int = 0,
) -> Iterator[Result]:
    """`map(work, items)` with `threads` at work, at most `threads * ahead` results waiting.

    The weights of the items at work and waiting add up to `most` or less, but for an item that is heavier alone.
    Threads end before the iterator does, also when its consumer stops early; an exception in `work` is raised in turn.
    """
    waiting: deque[tuple[int, Future[Result]]] = deque()
    carried = 0
    with ThreadPoolExecutor(threads, thread_name_prefix="stage") as pool:
        try:
            for item in items:
                heavy = weight(item)
                while waiting and (len(waiting) >= threads * ahead or carried + heavy > most):
                    light, first = waiting.popleft()
                    carried -= light
                    yield first.result()
                waiting.append((heavy, pool.submit(work, item)))
                carried += heavy
            while waiting:
                yield waiting.popleft()[1].result()
        finally:
            for _, future in waiting:
                future.cancel()
