"""SQLite under `cache/`: what is derived from the store, and may be deleted, damaged or locked at any moment.

Its promise: that costs whoever remembers something there the work of deriving it again, and nothing else.
"""

import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from embeddings_dagster.errors import StorageFailed
from embeddings_dagster.store.trouble import telling, telling_of_sqlite

UNUSABLE = (sqlite3.Error, StorageFailed)  # what whoever can do without passes over

Result = TypeVar("Result")


class Remembered:
    """One database, opened for each use: nothing is held that another process, a fork or `rm` could upset."""

    def __init__(self, database: Path, tables: str) -> None:
        """`tables`: what creates them. A database that other ones made is not read, but made anew."""
        self.database = database
        self._tables = tables
        self._layout = zlib.crc32(tables.encode()) >> 1

    def do(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Do `work`, and once more where the file was deleted meanwhile, or is not a database.

        Raises:
            StorageFailed: there is no room for it, or no permission.
            sqlite3.Error: another process has held it for a minute.
        """
        with telling(self.database, "used"), telling_of_sqlite(self.database):
            return self._do(work)

    def _do(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        try:
            with self._connected() as connection:
                return work(connection)
        except sqlite3.DatabaseError as error:
            if not isinstance(error, sqlite3.OperationalError):
                self.database.unlink(missing_ok=True)
            with self._connected() as connection:
                return work(connection)

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        self.database.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.database, timeout=60, isolation_level=None)) as connection:
            connection.execute("pragma synchronous = off")  # derived: a loss costs the work of deriving it
            (layout,) = connection.execute("pragma user_version").fetchone()
            if layout not in (0, self._layout):
                raise sqlite3.DatabaseError("another release made it")
            if not layout:
                connection.executescript(f"{self._tables}\n; pragma user_version = {self._layout}")
            yield connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Two processes that derive the same take turns, and the second finds the work done."""
    connection.execute("begin immediate")
    with connection:
        yield
