"""What a disk refuses, told so that a person knows which place it was, and what to do there.

Its promise: no bare `OSError` of storage leaves the store. That a file is not there, or is there already, is an answer
and no trouble: those pass as they are.
"""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from embeddings_dagster.errors import StorageFailed, StorageUnavailable

# What SQLite calls the troubles of a disk, by the system's numbers: the low byte of its own code says which it is.
OF_SQLITE = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EACCES,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_IOERR: errno.EIO,
}
ANSWERS = (FileNotFoundError, FileExistsError, NotADirectoryError, StorageFailed, StorageUnavailable)


@contextmanager
def telling(place: object, what: str) -> Iterator[None]:
    """What is done in the block is done to `place`; `what` completes "cannot be …".

    Raises:
        StorageFailed: it could not be done.
    """
    try:
        yield
    except ANSWERS:
        raise
    except OSError as error:
        if error.errno is None:  # no system said that: a lock's Timeout is an OSError, too
            raise
        raise StorageFailed.of(error, str(place), what) from error


@contextmanager
def telling_of_sqlite(place: object) -> Iterator[None]:
    """As `telling`, for a database: what is no trouble of its disk passes as it is.

    Raises:
        StorageFailed: there is no room, no permission, or an I/O error.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorcode", None)
        number = OF_SQLITE.get(code & 0xFF) if code is not None else None
        if number is None:
            raise
        raise StorageFailed.of(OSError(number, str(error)), str(place), "used") from error
