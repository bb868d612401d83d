"""Traces of launches under way, so that a run with nothing to do still notices one that was killed.

A killed process cannot tell Dagster that its run is over. The next launch finds out; but a run that launches nothing
would not even load Dagster. A file under `cache/` for each launch, removed when it ends, tells it that it should.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = "launches"


@contextmanager
def marked(cache: Path) -> Iterator[None]:
    """Leave a trace while this process launches; it outlives a kill."""
    trace = cache / FOLDER / str(os.getpid())
    trace.parent.mkdir(parents=True, exist_ok=True)
    trace.touch()
    try:
        yield
    finally:
        trace.unlink(missing_ok=True)


def any_traces(cache: Path) -> bool:
    """Whether a launch is under way, or one was killed."""
    folder = cache / FOLDER
    return folder.is_dir() and any(folder.iterdir())


def sweep(cache: Path) -> None:
    """Remove the traces of the dead, once their runs are ended."""
    folder = cache / FOLDER
    for trace in folder.iterdir() if folder.is_dir() else ():
        if not _is_alive(trace.name):
            trace.unlink(missing_ok=True)


def _is_alive(name: str) -> bool:
    if not name.isdecimal():
        return False
    try:
        os.kill(int(name), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
