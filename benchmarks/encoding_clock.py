"""The clock of the children: CPU-seconds of a process with all that it started, wall time, and memory."""

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

Figures = dict[str, Any]


def cpu_seconds() -> float:
    """Of all threads of this process, and of the processes that it started, whether they have ended or not."""
    own = psutil.Process()
    times = own.cpu_times()
    total = time.process_time() + times.children_user + times.children_system
    for child in own.children(recursive=True):
        try:
            spent = child.cpu_times()
        except psutil.NoSuchProcess:  # ended in this moment
            continue
        total += spent.user + spent.system
    return total


@contextmanager
def measured(figures: Figures) -> Iterator[None]:
    """Sets `cpu` and `wall`, in seconds, of a block."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    yield
    figures["cpu"], figures["wall"] = cpu_seconds() - cpu, time.perf_counter() - wall


@contextmanager
def remembered(figures: Figures) -> Iterator[None]:
    """Sets `baseline` and `peak`, in bytes of resident memory, of a block."""
    figures["baseline"] = psutil.Process().memory_info().rss
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of what was before
    except OSError:
        figures["peak_is_of_the_process"] = True
    yield
    figures["peak"] = _peak()


def _peak() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)
