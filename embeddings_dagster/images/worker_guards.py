"""What a worker process does to itself before it sees a stranger's bytes: limits, silence, and an end when its parent
ends. Each is left out where the system has no such thing; the parent's deadline holds everywhere."""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
    import resource
except ImportError:  # Windows
    posix = False
else:
    posix = True

_MEMORY_IN_USE = Path("/proc/self/statm")
_KEPT_NOISE = 65536  # bytes; what a decoder prints beyond that is dropped


def guard(lifeline: int | None) -> None:
    """Leave signals that stop to the parent, though its whole group gets them; write no core, be the first to go when
    memory is short, and die with the parent.

    Nobody writes to the `lifeline`, a pipe whose other end the parent holds. When it closes, the kernel itself ends
    this process by SIGIO: a thread that waits for it could not run while a decoder holds the interpreter.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if not posix:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    if lifeline is not None and hasattr(os, "O_ASYNC"):
        _end_with(lifeline)


def _end_with(lifeline: int) -> None:
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        if not os.read(lifeline, 1):  # the parent was gone before the signal was asked for
            sys.exit(1)


class Memory:
    """How much this process may take from now on, beside what it has. No limit where Linux's /proc is not there."""

    def __init__(self) -> None:
        self._can_limit = posix and _MEMORY_IN_USE.exists()

    def allow(self, more: int) -> None:
        """At most `more` bytes; beyond them allocations fail."""
        if self._can_limit:
            used = int(_MEMORY_IN_USE.read_text().split()[0]) * resource.getpagesize()
            self._limit(used + more)

    def free(self) -> None:
        """As much as there is."""
        if self._can_limit:
            self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        known = [each for each in (size, hard) if each != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_AS, (min(known, default=resource.RLIM_INFINITY), hard))


class Noise:
    """What libraries print to the error stream of this process: kept back, to be read as the reason of a failure."""

    def __init__(self) -> None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - as long as the process
        self._end: int | None = None
        if posix:
            self._end, written = os.pipe()
            os.set_blocking(self._end, False)
            os.set_blocking(written, False)  # a full pipe drops what comes instead of stopping the decoder
        else:
            written = os.open(os.devnull, os.O_WRONLY)
        os.dup2(written, 2)
        os.close(written)

    def take(self) -> str:
        """The first line that was printed since the last time, of an error if there is one; empty where nothing was."""
        if self._end is None:
            return ""
        try:
            printed = os.read(self._end, _KEPT_NOISE)
        except BlockingIOError:
            return ""
        lines = printed.decode("utf-8", "replace").replace("tempfile.tif: ", "").splitlines()  # libtiff's name for it
        lines = sorted(filter(str.strip, lines), key=lambda line: ": Warning," in line)
        return lines[0] if lines else ""
