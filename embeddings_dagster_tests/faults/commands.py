"""Commands in processes of their own that are told to stop, and what is left of them then."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from embeddings_dagster_tests.cli.command import COMMAND, environment

SECONDS = 10  # what the project promises between a stop and the end
BUSY = 3  # times as long, where the machine has other things to do than this test


class Ended(NamedTuple):
    """How a command ended; `seconds` after it was told to."""

    code: int
    out: str
    err: str
    seconds: float


@contextmanager
def begun(*arguments: str, cwd: Path, **options: object) -> "Iterator[subprocess.Popen[str]]":
    """A command at work, in a group of its own; killed with its group if the test ends first."""
    process = subprocess.Popen(
        [COMMAND, *arguments], cwd=cwd, env=environment(), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,  # type: ignore[call-overload]
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def until(seen: Callable[[], object], process: "subprocess.Popen[str]", seconds: float = 60) -> None:
    """Wait for something to be seen while the command goes on."""
    end = time.monotonic() + seconds
    while not seen():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it was never seen"
        time.sleep(0.02)


def stopped(process: "subprocess.Popen[str]", number: signal.Signals = signal.SIGTERM, *, group: bool = False) -> Ended:
    """Send a signal, to the whole group if `group`, and wait for the end; no child may outlive it."""
    children = psutil.Process(process.pid).children(recursive=True)
    told = time.monotonic()
    if group:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    out, err = process.communicate(timeout=SECONDS * BUSY)
    ended = Ended(process.returncode, out, err, time.monotonic() - told)
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []
    return ended


def assert_said(ended: Ended, code: int = 130) -> None:
    """It obeyed in time, with one line that says so and no traceback."""
    assert (ended.code, ended.out) == (code, ""), ended.err
    assert ended.err.splitlines()[-1].startswith("stopped on request; what was "), ended.err
    assert "Traceback" not in ended.err
    assert "Exception ignored" not in ended.err
    assert ended.seconds < SECONDS, ended.err
