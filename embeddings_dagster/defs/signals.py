"""SIGTERM and SIGINT become a stage's stop event while it works: what is whole is committed, then the run ends.

Dagster would raise in the middle of whatever is being done. A second signal still does.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that the first signal sets. Outside the main thread no signal arrives, and it stays unset."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {each: signal.getsignal(each) for each in SIGNALS}

    arrived: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        previous = before[signal.Signals(number)]
        if stop.is_set() and callable(previous):
            previous(number, frame)
        stop.set()

    for each in SIGNALS:
        signal.signal(each, handle)
    try:
        yield stop
    finally:
        for each, previous in before.items():
            signal.signal(each, previous)
    if arrived:  # too late for the stage to obey, which ended as if nothing had been said: whoever waits outside shall
        signal.raise_signal(arrived[0])
