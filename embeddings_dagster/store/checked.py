"""Checks a file's sha256 before it is parsed, once per (path, size, mtime, inode).

What was checked is remembered in SQLite under `cache/`, for all processes. Forgetting, or deleting the cache at any
moment, costs time and nothing else: a check that is not remembered is made again.
"""

import hashlib
import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO

from embeddings_dagster.errors import CorruptFile, MissingFile
from embeddings_dagster.store.files import Files, Stat
from embeddings_dagster.store.trouble import telling

CHUNK = 2**20
TABLE = """create table if not exists checked (
    path text primary key, size integer, mtime_ns integer, identity text, sha256 text) without rowid"""
FIND = "select size, mtime_ns, identity, sha256 from checked where path = ?"
FORGET = "delete from checked where path = ?"
REMEMBER = "insert or replace into checked values (?, ?, ?, ?, ?)"


class Checked:
    """Committed files, handed out only when they hold what was promised. Safe to share among threads."""

    def __init__(self, files: Files, cache: Path) -> None:
        self._files = files
        self.cache = cache
        self._database = cache / "checked.sqlite"
        self._known: dict[str, tuple[Stat, str]] = {}
        self._lock = threading.Lock()

    def open(self, path: str, sha256: str, *, again: bool = False) -> BinaryIO:
        """A handle on a file whose bytes have this sha256. `again` ignores what is remembered.

        Raises:
            MissingFile: there is no such file.
            CorruptFile: it holds something else.
        """
        try:
            handle, stat = self._files.opened(path)
        except FileNotFoundError as error:
            raise MissingFile(f"{self._files.url(path)} is missing. {REMEDY}") from error
        if not again and self._is_known(path, stat, sha256):
            return handle
        try:
            with telling(self._files.url(path), "read"):
                found = _sha256(handle)
                handle.seek(0)
            if found != sha256:
                self._forget(path)  # rot that keeps size and time is found once, and then nobody's to read
                raise CorruptFile(f"{self._files.url(path)} does not hold what was committed. {REMEDY}")
        except BaseException:
            handle.close()
            raise
        self._remember(path, stat, sha256)
        return handle

    def check(self, path: str, sha256: str, *, again: bool = False) -> None:
        """Raise what `open` would, for readers that open the file themselves."""
        self.open(path, sha256, again=again).close()

    def _is_known(self, path: str, stat: Stat, sha256: str) -> bool:
        with self._lock:
            if self._known.get(path) == (stat, sha256):
                return True
        found = self._query(FIND, (self._files.url(path),))
        if found != [(*stat, sha256)]:
            return False
        with self._lock:
            self._known[path] = (stat, sha256)
        return True

    def _remember(self, path: str, stat: Stat, sha256: str) -> None:
        with self._lock:
            self._known[path] = (stat, sha256)
        self._query(REMEMBER, (self._files.url(path), *stat, sha256))

    def _forget(self, path: str) -> None:
        with self._lock:
            self._known.pop(path, None)
        self._query(FORGET, (self._files.url(path),))

    def _query(self, statement: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        """One connection a query: nothing is held open that another process, or a fork, or `rm`, could upset."""
        try:
            self._database.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._database, timeout=10, isolation_level=None)) as connection:
                connection.execute("pragma synchronous = off")  # losing the newest lines costs a second check
                connection.execute(TABLE)
                return connection.execute(statement, values).fetchall()
        except (sqlite3.OperationalError, OSError):
            return []  # busy for ten seconds, deleted under our feet, no room: not remembered, that is all
        except sqlite3.DatabaseError:  # not a database, or not whole
            with suppress(OSError):
                self._database.unlink(missing_ok=True)
            return []


def told(error: Exception) -> str:
    """An error in words, for who is verifying already."""
    return str(error).removesuffix(f" {REMEDY}")


REMEDY = "Run `embeddings verify`: it lists all that is damaged, and what heals each."


def _sha256(handle: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := handle.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
