"""What is known of every address: `urls.sqlite`, beside the pictures.

A row is written after its file is in place, so a process killed at any instant leaves rows whose files are there, or no
row: what was in flight is fetched again, nothing else is. Rows are never deleted, so revisions never go back.
"""

import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from embeddings_dagster.errors import SourceError
from embeddings_dagster.sources.addresses import shown

FILE = "urls.sqlite"
_VERSION = 1
_BUSY_SECONDS = 60
_SCHEMA = """
CREATE TABLE IF NOT EXISTS urls (
    url TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    slot TEXT UNIQUE,
    file TEXT,
    size INTEGER,
    sha256 TEXT,
    etag TEXT,
    last_modified TEXT,
    revision INTEGER NOT NULL,
    fetched_at REAL,
    failure TEXT,
    why TEXT,
    rules TEXT,
    message TEXT,
    status INTEGER,
    not_before REAL,
    failed_at REAL,
    attempts INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS revised ON urls (url) WHERE revision > 0;
CREATE TABLE IF NOT EXISTS cache (id TEXT NOT NULL, changes INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Row:
    """An address: its picture (`file` null: not in the cache), and how the last attempt since then failed, if it did.

    `name`: the picture's id. `slot`: what no two files may share, see `names`. `sha256` stays when the file goes: by it
    a picture that changed meanwhile is known. Times in seconds since 1970. `rules`: the settings that the failure
    depended on. `attempts`: failed ones in a row.
    """

    url: str
    name: str
    slot: str | None = None
    file: str | None = None
    size: int | None = None
    sha256: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    revision: int = 0
    fetched_at: float | None = None
    failure: str | None = None
    why: str | None = None
    rules: str | None = None
    message: str | None = None
    status: int | None = None
    not_before: float | None = None
    failed_at: float | None = None
    attempts: int = 0

    def is_left_alone(self, now: float) -> bool:
        """Whether the server named a time that has not come. What it said in the future was said before the clock was
        set back, and counts no more."""
        return (self.not_before or 0) > now >= (self.failed_at or 0)

    def healthy(self) -> "Row":
        """The row without its failure."""
        return replace(
            self,
            failure=None,
            why=None,
            rules=None,
            message=None,
            status=None,
            not_before=None,
            failed_at=None,
            attempts=0,
        )


_COLUMNS = tuple(each.name for each in fields(Row))
_TYPES: tuple[Any, ...] = tuple(each.type for each in fields(Row))  # which SQLite does not hold anyone to
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM urls"
_PUT = (
    f"INSERT INTO urls ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) "
    f"ON CONFLICT (url) DO UPDATE SET {', '.join(f'{each} = excluded.{each}' for each in _COLUMNS[1:])}"
)


class Record:
    """The rows of one cache, for several threads; other processes may use the same file. Nothing is created until
    something is to be written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / FILE
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def get(self, url: str) -> Row | None:
        """
        Raises:
            SourceError: the file cannot be used; true of every method here.
        """
        return self._one(f"{_SELECT} WHERE url = ?", url)

    def in_slot(self, slot: str) -> Row | None:
        """The row whose file is in a slot."""
        return self._one(f"{_SELECT} WHERE slot = ?", slot)

    def put(self, row: Row) -> None:
        """Insert or replace a row; only within `writing`."""
        with self._using() as connection:
            connection.execute(_PUT, astuple(row))

    def changed(self) -> None:
        """Count a change of a revision, which `state` shows; only within `writing`."""
        with self._using() as connection:
            connection.execute("UPDATE cache SET changes = changes + 1")

    def state(self) -> str:
        if not self._exists():
            return ""
        with self._using() as connection:
            found = connection.execute("SELECT id, changes FROM cache").fetchone()
            if found is None:
                raise sqlite3.DatabaseError("it has lost its own name")
        identity, changes = found
        return f"{identity}:{changes}" if changes else ""  # a cache without changes is as good as none

    def revised(self) -> dict[str, str]:
        """`<revision>:<etag>` by URL, where the revision is not 0."""
        if not self._exists():
            return {}
        with self._using() as connection:
            found = connection.execute("SELECT url, revision, etag FROM urls WHERE revision > 0").fetchall()
        return {url: f"{revision}:{etag or ''}" for url, revision, etag in found}

    @contextmanager
    def writing(self) -> Iterator[None]:
        """All that is written in this context becomes visible at its end, or not at all. No other thread or process
        writes meanwhile, so it holds nothing slow."""
        with self._lock, self._using() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _one(self, query: str, value: str) -> Row | None:
        if not self._exists():
            return None
        with self._using() as connection:
            found = connection.execute(query, (value,)).fetchone()
            if found and not all(isinstance(each, kind) for each, kind in zip(found, _TYPES, strict=True)):
                raise sqlite3.DatabaseError(f"the row of {shown(str(found[0]))} holds values of other kinds")
        return Row(*found) if found else None

    def _exists(self) -> bool:
        return self._connection is not None or self._path.exists()

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._create()
                yield self._connection
            except sqlite3.Error as error:
                raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> SourceError:
        damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
        remedy = (
            "restore it, or delete it: all pictures are then fetched again"
            if damaged
            else "check its disk, the space on it and its permissions, then run again"
        )
        return SourceError(f"{self._path}: the record of what was downloaded cannot be used ({error}); {remedy}")

    def _create(self) -> sqlite3.Connection:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            return self._open()
        except OSError as error:
            raise self._unusable(error) from error

    def _open(self) -> sqlite3.Connection:
        # Two processes that turn a new file to WAL at once can lock each other out, busy timeout or not.
        with FileLock(self._folder / f".{FILE}.lock"):
            connection = sqlite3.connect(
                self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise SourceError(f"{self._path}: was written by a newer release; install it, or delete this file")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if version == 0:
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA}")
            connection.execute("INSERT INTO cache VALUES (?, 0)", (uuid.uuid4().hex,))
            connection.execute(f"PRAGMA user_version = {_VERSION}")
            connection.execute("COMMIT")
