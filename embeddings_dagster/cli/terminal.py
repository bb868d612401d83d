"""What the command prints: compact and coloured on a terminal, plain and uncut when piped.

Answers go to stdout, everything else (progress, notes, errors) to stderr, so that a pipe holds the answer alone.
"""

import io
import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from embeddings_dagster.errors import CONTROL

PIPED_WIDTH = 100_000  # a pipe has no edge: nothing in it is wrapped or cut


@dataclass(frozen=True)
class Column:
    """A column of a table: `right` for numbers, `style` a rich style, `fold` to wrap rather than cut."""

    title: str
    right: bool = False
    style: str = ""
    fold: bool = False


def out() -> Console:
    """stdout, as it is now (tests and pipes replace it)."""
    return _console(stderr=False)


def notes() -> Console:
    """stderr."""
    return _console(stderr=True)


class _Notes(Console):
    """Notes that nobody can read any more cost the work nothing: a closed pipe or terminal swallows them."""

    def on_broken_pipe(self) -> None:
        self.quiet = True

    def _check_buffer(self) -> None:
        try:
            super()._check_buffer()
        except OSError:
            self.on_broken_pipe()


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    terminal = stream.isatty()
    return (_Notes if stderr else Console)(
        stderr=stderr,
        width=None if terminal else PIPED_WIDTH,
        soft_wrap=not terminal,
        highlight=False,
        emoji=False,  # `:dog:` in an id is not a picture of a dog
    )


def say(text: str = "", style: str = "") -> None:
    """A line of the answer, taken literally."""
    out().print(_literal(text), style=style or None)


def note(text: str, style: str = "dim") -> None:
    """A line beside the answer, on stderr."""
    notes().print(_literal(text), style=style)


def _literal(text: str) -> str:
    """Text as it stands: no markup, and no commands to the terminal, which strangers' titles may hold."""
    return escape(CONTROL.sub("\ufffd", text))


def show_anything() -> None:
    """Write what the terminal's encoding lacks as `\\u2013`, rather than fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say_json(value: Any) -> None:
    """The answer for a program: one JSON document, nothing else on stdout."""
    text = CONTROL.sub(
        lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, indent=1, ensure_ascii=False, default=_plain)
    )
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # of that terminal, or for halves of surrogate pairs: names of files may hold them
        text = json.dumps(value, indent=1, default=_plain)
    print(text)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "item"):  # a numpy scalar
        return value.item()
    raise TypeError(f"{type(value).__name__} has no place in JSON")


def say_table(
    columns: Sequence[Column], rows: Iterable[Sequence[object]], *, title: str = "", total: bool = False
) -> None:
    """Rows under headings; `None` shows as nothing, ints with thousands; `total`: the last row sums up the others."""
    console = out()
    terminal = console.is_terminal
    table = Table(
        box=box.SIMPLE_HEAD if terminal else None,
        title=_literal(title) or None,
        title_justify="left",
        title_style="bold",
        header_style="bold" if terminal else "",
        pad_edge=False,
        padding=(0, 1 if terminal else 2, 0, 0),
    )
    for column in columns:
        table.add_column(
            _literal(column.title),
            justify="right" if column.right else "left",
            style=column.style,
            overflow="fold" if column.fold else "ellipsis",
            no_wrap=not column.fold,
        )
    listed = [[_literal(_cell(value)) for value in row] for row in rows]
    for number, row in enumerate(listed):
        last = total and number == len(listed) - 1
        table.add_row(*row, style="bold" if last else None, end_section=total and number == len(listed) - 2)
    console.print(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def command_name() -> str:
    """How this command is typed here: by its name where that is on the PATH, else by its path."""
    own = Path(sys.argv[0])
    named = shutil.which(own.name)
    if named is not None and Path(named).resolve() == own.resolve():
        return own.name
    return str(own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own)


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(count: float) -> str:
    """Bytes in decimal units: `812 B`, `3.1 MB`, `1.4 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def moment(when: datetime | None) -> str:
    """Local time to the minute."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M") if when else ""


def said_kinds(kinds: Mapping[str, int]) -> str:
    """Segments: `2 hnsw_fp16, 1 flat`."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items(), reverse=True))


def said_recall(recall: float) -> str:
    """`exact`, or a share: `0.967`."""
    return "exact" if recall == 1 else f"{recall:.3f}"
