"""What a broken promise is, and how it is told."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

SHOWN = 6


class Violation(AssertionError):
    """Something was lost, or is wrong."""


def require(holds: bool, what: str) -> None:
    """Raises Violation unless it holds."""
    if not holds:
        raise Violation(what)


def same(found: Iterable[object], wanted: Iterable[object], what: str) -> None:
    """Both hold the same things, equally often. Raises Violation."""
    there, asked = Counter(found), Counter(wanted)
    if there != asked:
        extra, missing = (sorted(map(str, each.elements()))[:SHOWN] for each in (there - asked, asked - there))
        raise Violation(f"{what}: there are {extra} too many, {missing} are missing")


def processes_of(session: int) -> list[int]:
    """The processes of a session that are still running; the dead who wait to be buried are not."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            found.append(int(name))
    return found
