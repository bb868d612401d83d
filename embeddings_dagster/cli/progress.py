"""How a run shows while it goes on: bars on a terminal, a line now and then otherwise; all of it on stderr."""

import time
from collections.abc import Callable
from types import TracebackType

from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from embeddings_dagster.cli.terminal import note, notes

LINE_SECONDS = 10.0  # between two lines of one stage, where there is no terminal


class RunProgress:
    """Told (stage and batch, images done, images to do) and plain lines; a context manager.

    Bars come and go with the work: a stage that is done leaves none behind.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[str, float] = {}
        self._tasks: dict[str, TaskID] = {}
        console = notes()
        self._bars = _bars() if console.is_terminal else None

    def __enter__(self) -> "RunProgress":
        if self._bars:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()

    def log(self, line: str) -> None:
        """A line of a stage."""
        if self._bars:
            self._bars.console.print(escape(line), style="dim")
        else:
            note(line)

    def progress(self, what: str, done: int, total: int) -> None:
        """`done` of `total` images of a stage of a batch."""
        if self._bars:
            self._move(self._bars, what, done, total)
            return
        now = self._clock()
        first = self._said.setdefault(what, now)
        if done == total or now - first >= LINE_SECONDS:
            self._said[what] = now
            note(f"{what}: {done:,} of {total:,}")

    def _move(self, bars: Progress, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = bars.add_task(escape(what), total=total)
        bars.update(self._tasks[what], completed=done, total=total)
        if done >= total:
            bars.remove_task(self._tasks.pop(what))


def _bars() -> Progress:
    return Progress(
        SpinnerColumn(style="cyan"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        console=notes(),
        transient=True,
    )
