"""The one way in which every parser of outside data is tried: whatever it is given, it answers with a value that keeps
its promises or raises the errors that it names, within a bound of work, and with a message fit for a terminal.
"""

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

# CPU-seconds that a few kilobytes may cost. What this finds grows as a square or worse, and takes minutes.
MOST_SECONDS = 10.0
MOST_BYTES = 2**30  # that they may cost; libraries that are loaded with them count
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # a tab or a line break gives a terminal no commands


class Overlong(BaseException):
    """The work on one input does not end, or takes all memory. No handler of `Exception` may take it for a refusal."""


@dataclass(frozen=True)
class Parser:
    """`read` is given one of `inputs`: it calls the parser, and asserts what is promised of its value. `refuses`: the
    errors that are an answer. `modules`: those of the package that are tried by it. `cases`: found ones, each with what
    it did once, or what it is to show."""

    name: str
    kind: str
    modules: tuple[str, ...]
    inputs: st.SearchStrategy[Any]
    read: Callable[[Any], object]
    refuses: tuple[type[Exception], ...] = ()
    cases: tuple[tuple[str, Any], ...] = ()
    share: float = 1.0  # of the number of inputs; less where each costs much


@dataclass
class Tally:
    """What became of the inputs of one parser."""

    tried: int = 0
    refused: int = 0
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0


def judge(parser: Parser, given_: Any, tally: Tally) -> None:
    """Try one input; what is not promised is raised."""
    tally.tried += 1
    with bounded(MOST_SECONDS):
        try:
            parser.read(given_)
        except parser.refuses as error:
            tally.refused += 1
            said = str(error)
        else:
            return
    assert said, "an error says something"
    assert not CONTROL.search(said), f"commands to a terminal in a message: {said!r}"


def fuzz(parser: Parser, examples: int, seed: int | None = None) -> Tally:
    """Try so many inputs, always the same ones where there is no seed; what breaks a promise is raised."""
    tally = Tally()
    began = time.process_time()

    @settings(
        max_examples=max(1, round(examples * parser.share)),
        deadline=None,
        database=None,
        derandomize=seed is None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),  # to shrink what takes for ever takes longer
    )
    @given(parser.inputs)
    def each(given_: Any) -> None:
        judge(parser, given_, tally)

    try:
        (each if seed is None else hypothesis.seed(seed)(each))()
    finally:
        tally.seconds = time.process_time() - began
    return tally


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """
    Raises:
        Overlong: this process has worked so many seconds within the context, or has taken more than `MOST_BYTES`.
    """
    with suppress(OSError):
        CLEAR.write_text("5")  # the most that was held is counted from here on
    held = _held_most()
    with _working(seconds):
        yield
    if (taken := _held_most() - held) > MOST_BYTES:
        raise Overlong(f"{taken / 2**20:,.0f} MiB of memory for one input")


def _held_most() -> int:
    """The most bytes of memory that this process held at once; 0 where no Linux tells."""
    try:
        (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    except OSError:
        return 0
    return int(line.split()[1]) * 1024


@contextmanager
def _working(seconds: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def over(number: int, frame: object) -> None:
        raise Overlong(f"not done after {seconds:g} s of work")

    before = signal.signal(signal.SIGVTALRM, over)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
