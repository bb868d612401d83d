"""Waiting that ends: no wait is deaf to a stop, no address is fetched twice at once, no host is asked too much."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from embeddings_dagster.errors import Stopped

LOOK_SECONDS = 0.2  # between two looks at the stop event while waiting for something else


def check(stop: threading.Event | None) -> None:
    """
    Raises:
        Stopped: `stop` is set.
    """
    if stop is not None and stop.is_set():
        raise Stopped("stopped on request while pictures were fetched; what was fetched is kept, run again to go on")


def pause(seconds: float, stop: threading.Event | None) -> None:
    """Wait.

    Raises:
        Stopped: `stop` was set before the time was over.
    """
    if stop is None:
        time.sleep(seconds)
    else:
        stop.wait(seconds)
        check(stop)


class Turns:
    """At most `at_once` holders of a key, and at most `per_second` begin in a second."""

    def __init__(self, at_once: int, per_second: float | None = None) -> None:
        self._at_once = at_once
        self._gap = 1 / per_second if per_second else 0.0
        self._changed = threading.Condition()
        self._held: dict[str, int] = {}
        self._next: dict[str, float] = {}

    @contextmanager
    def turn(self, key: str, stop: threading.Event | None) -> Iterator[float]:
        """Hold `key` for as long as the context lasts; yields the seconds that were waited for it.

        Raises:
            Stopped: `stop` was set while waiting.
        """
        began = time.monotonic()
        with self._changed:
            _wait_until(self._changed, lambda: self._held.get(key, 0) < self._at_once, stop)
            self._held[key] = self._held.get(key, 0) + 1
            begins = max(time.monotonic(), self._next.get(key, 0.0))
            if self._gap:
                self._next[key] = begins + self._gap
        try:
            if (left := begins - time.monotonic()) > 0:
                pause(left, stop)
            yield time.monotonic() - began
        finally:
            with self._changed:
                self._held[key] -= 1
                if not self._held[key]:
                    del self._held[key]  # a catalogue may name a hundred thousand addresses
                self._changed.notify_all()


def _wait_until(changed: threading.Condition, ready: Callable[[], bool], stop: threading.Event | None) -> None:
    while not ready():
        check(stop)
        changed.wait(None if stop is None else LOOK_SECONDS)
