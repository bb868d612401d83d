"""Asking for many pictures at once whether they are still the same."""

import enum
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from embeddings_dagster.sources.addresses import shown
from embeddings_dagster.sources.base import Problem
from embeddings_dagster.sources.downloads.waiting import check

_MOST_PROBLEMS = 1000


class Outcome(enum.Enum):
    UNCHANGED = "unchanged"
    CHANGED = "changed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Refreshed:
    """What a refresh found: `asked` = `unchanged` + `changed` + `failed`. `skipped` were not asked: never fetched yet,
    or their server wants to be left alone for longer. `problems`: the first 1,000 failures, by URL."""

    asked: int = 0
    unchanged: int = 0
    changed: int = 0
    failed: int = 0
    skipped: int = 0
    problems: tuple[Problem, ...] = ()


def refresh_all(
    ask: Callable[[str, str], tuple[Outcome, str]],
    pictures: Iterable[tuple[str, str]],
    threads: int,
    stop: threading.Event,
) -> Refreshed:
    """`ask` for each (name, url), each URL once, by several threads; the outcomes counted.

    Raises:
        Stopped: `stop` was set. What `ask` raises ends the others after what they have in hand.
    """
    work = _Work(ask, pictures, stop)
    with ThreadPoolExecutor(threads, thread_name_prefix="refresh") as pool:
        for done in [pool.submit(work.run) for _ in range(threads)]:
            done.result()
    return work.result()


class _Work:
    def __init__(
        self, ask: Callable[[str, str], tuple[Outcome, str]], pictures: Iterable[tuple[str, str]], stop: threading.Event
    ) -> None:
        self._ask = ask
        self._pictures = iter(pictures)
        self._stop = stop
        self._lock = threading.Lock()
        self._broken = False
        self._seen: set[str] = set()
        self._outcomes: Counter[Outcome] = Counter()
        self._problems: list[Problem] = []

    def run(self) -> None:
        try:
            while (picture := self._next()) is not None:
                check(self._stop)
                outcome, reason = self._ask(*picture)
                with self._lock:
                    self._outcomes[outcome] += 1
                    if reason and len(self._problems) < _MOST_PROBLEMS:
                        self._problems.append(Problem(shown(picture[1]), reason))
        except BaseException:
            self._broken = True
            raise

    def _next(self) -> tuple[str, str] | None:
        with self._lock:
            while not self._broken and (picture := next(self._pictures, None)) is not None:
                if picture[1] not in self._seen:
                    self._seen.add(picture[1])
                    return picture
            return None

    def result(self) -> Refreshed:
        asked = {each.value: self._outcomes[each] for each in (Outcome.UNCHANGED, Outcome.CHANGED, Outcome.FAILED)}
        problems = tuple(sorted(self._problems, key=lambda problem: problem.location))
        return Refreshed(asked=sum(asked.values()), **asked, skipped=self._outcomes[Outcome.SKIPPED], problems=problems)
