"""Traces of launches under way, so that a run with nothing to do still notices one that was killed.

A killed process cannot tell Dagster that its run is over, nor what it had committed. The next launch finds out; but a
run that launches nothing would not even load Dagster. A file under `cache/` for each launch, removed when it ends,
tells it that it should, and which batches the dead one had in hand.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = "launches"


@contextmanager
def marked(cache: Path) -> Iterator[None]:
    """Leave a trace while this process launches; it outlives a kill."""
    trace = _own(cache)
    trace.parent.mkdir(parents=True, exist_ok=True)
    trace.touch()
    try:
        yield
    finally:
        trace.unlink(missing_ok=True)


def hold(cache: Path, batches: Collection[str]) -> None:
    """Write into the trace which batches this launch has in hand."""
    _own(cache).write_text("".join(f"{batch}\n" for batch in sorted(batches)), encoding="utf-8")


def any_traces(cache: Path) -> bool:
    """Whether a launch is under way, or one was killed."""
    folder = cache / FOLDER
    return folder.is_dir() and any(folder.iterdir())


def in_dead_hands(cache: Path) -> set[str] | None:
    """The batches that killed launches had in hand; None where none was killed."""
    dead = _dead(cache)
    return {batch for trace in dead for batch in trace.read_text(encoding="utf-8").split()} if dead else None


def sweep(cache: Path) -> None:
    """Remove the traces of the dead, once their runs are ended and others have their batches in hand."""
    for trace in _dead(cache):
        trace.unlink(missing_ok=True)


def _own(cache: Path) -> Path:
    return cache / FOLDER / str(os.getpid())


def _dead(cache: Path) -> list[Path]:
    folder = cache / FOLDER
    return [trace for trace in (folder.iterdir() if folder.is_dir() else ()) if not _is_alive(trace.name)]


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
