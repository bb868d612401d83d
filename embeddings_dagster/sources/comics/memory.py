"""What page specs said when they were last read, so that a look at 80,000 pages opens only those that changed.

Derived: it may be deleted, damaged or locked at any time, and then the specs are read again.
"""

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from embeddings_dagster.sources.comics.spec import RULES
from embeddings_dagster.store.remembered import Remembered, transaction

# The number of the rules is part of the names, so that what other rules have read is never taken for theirs.
SPECS, UNFOUND = f"specs_{RULES}", f"unfound_{RULES}"
TABLES = f"""
create table if not exists {SPECS} (
    path text primary key, size integer, mtime_ns integer, image text, record_hash text, problems text) without rowid;
create table if not exists {UNFOUND} (location text primary key, reason text) without rowid;
"""
FIELDS = "path, size, mtime_ns, image, record_hash, problems"
Result = TypeVar("Result")


class Said(NamedTuple):
    """What a spec of that size and mtime said: its picture's path as it writes it, empty where it names none, its
    record's hash, and its problems, a line each. Paths are escaped as in local ids."""

    path: str
    size: int | None
    mtime_ns: int | None
    image: str
    record_hash: str
    problems: str


class Memory:
    """The memory of one source, in one file."""

    def __init__(self, database: Path) -> None:
        self._remembered = Remembered(database, TABLES)

    def recall(self) -> Mapping[str, Said]:
        """All that is remembered, by path."""
        question = f"select {FIELDS} from {SPECS}"
        rows = self._try(lambda connection: connection.execute(question).fetchall()) or []
        return {row[0]: Said(*row) for row in rows}

    def remember(self, said: Sequence[Said], gone: Collection[str]) -> None:
        """Take in what was read, and forget the specs that are gone."""

        def work(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                connection.executemany(f"insert or replace into {SPECS} ({FIELDS}) values (?, ?, ?, ?, ?, ?)", said)
                connection.executemany(f"delete from {SPECS} where path = ?", ((path,) for path in gone))

        if said or gone:
            self._try(work)

    def remember_unfound(self, reasons: Mapping[str, str]) -> None:
        """Keep why pictures were not found, by the location their failure will name."""

        def work(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                if dict(connection.execute(f"select location, reason from {UNFOUND}").fetchall()) != reasons:
                    connection.execute(f"delete from {UNFOUND}")
                    connection.executemany(f"insert into {UNFOUND} values (?, ?)", reasons.items())

        self._try(work)

    def why_unfound(self, location: str) -> str:
        """Why the last scan found no picture for this path; empty where it does not remember."""
        question = f"select reason from {UNFOUND} where location = ?"
        row = self._try(lambda connection: connection.execute(question, (location,)).fetchone())
        return str(row[0]) if row else ""

    def _try(self, work: Callable[[sqlite3.Connection], Result]) -> Result | None:
        try:
            return self._remembered.do(work)
        except (sqlite3.Error, OSError):
            return None
