"""A progress bar for those who look on, and nothing for those who do not."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(total: int, *, shown: bool) -> Iterator[Callable[[], None]]:
    """To be called once for each of `total` pictures; the bar is on standard error, and only if that is a terminal."""
    if not shown or not total or sys.stderr is None or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("Pictures", total=total)
        yield lambda: progress.advance(task)
