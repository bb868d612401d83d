"""Downloaded pictures against the record of what came: those that are not it any more.

One that is missing is no damage: it is fetched again when it is next read. Nor is the record itself proven, for it
changes all the time; SQLite's own check finds what breaks its structure.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from embeddings_dagster.sources.downloads.record import FILE


class Damaged(NamedTuple):
    """A file of a cache that is not what it was, and why."""

    name: str
    reason: str


def damaged_downloads(folder: Path) -> Iterator[Damaged]:
    """The damaged files of one source's cache; reads all of them, and changes nothing."""
    record = folder / FILE
    if not record.exists():
        return
    try:
        with closing(sqlite3.connect(f"{record.as_uri()}?mode=ro", uri=True, timeout=60)) as connection:
            ((sound,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
            rows = connection.execute("SELECT file, size, sha256 FROM urls WHERE file IS NOT NULL").fetchall()
    except sqlite3.Error as error:
        yield Damaged(FILE, f"the record of what was downloaded cannot be read ({error})")
        return
    if sound != "ok":
        yield Damaged(FILE, f"the record of what was downloaded is not whole ({sound})")
    for name, size, sha256 in rows:
        try:
            with (folder / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    yield Damaged(name, f"is not the picture of {size} bytes that came")
        except FileNotFoundError:
            continue
        except OSError as error:
            yield Damaged(name, str(error))
