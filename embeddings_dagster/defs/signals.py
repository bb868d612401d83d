"""SIGTERM and Ctrl-C: what is whole is committed, then the run ends. A second one ends the process at once, and so
does a library that lets nobody in for too long (torch is loaded in one go): the next run finds the dead one.

A stage is told by its stop event. Dagster would raise in the middle of whatever is being done, and forgets a signal
that comes while it does something itself; so a command asks `was_asked`. Signals that are ignored, as `nohup` and a
shell's `&` have it, stay so.
"""

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)
HANG_UP: int | None = getattr(signal, "SIGHUP", None)  # the terminal was closed
SAME_SECONDS = 0.5  # `timeout` and service managers send a signal to the process and to its group: that is one
PATIENCE_SECONDS = 9.0  # from a signal to the end; ten are promised, and after ten many managers kill
AT_ONCE = b"stopped at once; what was committed is whole\n"
TOO_LONG = b"stopped on request; what was committed is whole, run again to go on\n"
STOPPED = 130
SHOW_CURSOR = b"\x1b[?25h"  # a progress bar hides it

_asked = threading.Event()  # a process has one set of signals


class Interrupted(SystemExit):
    """A signal came between stages, where nothing is half done."""


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that the first signal sets. Outside the main thread no signal arrives, and it stays unset."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    arrived: list[tuple[float, int]] = []
    before = {each: signal.getsignal(each) for each in SIGNALS if _is_heard(each)}

    def pass_on(number: int, frame: FrameType | None) -> None:
        previous = before[signal.Signals(number)]
        if callable(previous):
            previous(number, frame)
        else:
            signal.raise_signal(number)

    def handle(number: int, frame: FrameType | None) -> None:
        arrived.append((time.monotonic(), number))
        stop.set()
        if arrived[-1][0] - arrived[0][0] > SAME_SECONDS and not was_asked():  # of a command, the listener sees to it
            pass_on(number, frame)

    for each in before:
        signal.signal(each, handle)
    try:
        yield stop
    finally:
        for each, previous in before.items():
            signal.signal(each, previous)
    if arrived:  # too late for the stage to obey, which ended as if nothing had been said: whoever waits outside shall
        pass_on(arrived[0][1], None)


def was_asked() -> bool:
    """Whether this command was told to stop."""
    return _asked.is_set()


@contextmanager
def listening() -> Iterator[None]:
    """For a command, from its first moment to its last: hear every signal, whoever else handles it.

    Raises:
        Interrupted: one came where no stage is at work.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _asked.clear()
    handlers = dict.fromkeys(SIGNALS, _interrupt) | ({HANG_UP: _hang_up} if HANG_UP is not None else {})
    before = {each: signal.signal(each, handler) for each, handler in handlers.items() if _is_heard(each)}
    heard, told = socket.socketpair()
    told.setblocking(False)
    woken = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(heard,), name="signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(woken)
        told.close()
        for each, previous in before.items():
            signal.signal(each, previous)


def _is_heard(number: int) -> bool:
    return signal.getsignal(number) not in (signal.SIG_IGN, None)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted(128 + number)


def _hang_up(number: int, frame: FrameType | None) -> None:
    """As Ctrl-C, to whoever handles that now."""
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(signal.SIGINT, frame)
    else:
        _interrupt(number, frame)


def _listen(heard: socket.socket) -> None:
    """In a thread of its own: the main one may be deep in a library, and then Python tells it nothing."""
    first = None
    while True:
        left = None if first is None else max(0.0, first + PATIENCE_SECONDS - time.monotonic())
        if not select.select([heard], [], [], left)[0]:
            _end(TOO_LONG, STOPPED)
        numbers = heard.recv(64)
        if not numbers:
            heard.close()
            return
        now = time.monotonic()
        if first is None and {*numbers} & {*SIGNALS, HANG_UP}:
            first = now
            _asked.set()
        again = [number for number in numbers if number in SIGNALS]  # a terminal may well hang up twice
        if first is not None and again and now - first > SAME_SECONDS:
            _end(AT_ONCE, 128 + again[0])


def _end(said: bytes, code: int) -> None:
    with suppress(OSError):
        os.write(2, SHOW_CURSOR + said if os.isatty(2) else said)
    os._exit(code)
