"""A catalogue file in the making: pictures go out, pictures come in, and nobody reads it until it is whole.

What was made is proven before it is handed on. The file may be thrown away at any moment until then.
"""

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from embeddings_dagster.catalog.layout import CACHE_KB, TABLES
from embeddings_dagster.catalog.records import Picture, Region
from embeddings_dagster.catalog.values import Kind, Value, clean, fields_of, moment_text, value_of
from embeddings_dagster.errors import StoreError
from embeddings_dagster.ids import source_of
from embeddings_dagster.store.trouble import telling_of_sqlite

TITLES = ("title", "name")  # the first of these that a record has is what its picture is called
BREAK = " \ue000 "  # between texts that are indexed together: a letter nobody types, so that no phrase spans two
ADDRESS = re.compile(r"https?://", re.IGNORECASE)
KNOWN = 200_000  # values whose place is remembered while writing
SPARSE = 4  # a file is packed when more than one page in so many is empty


class CatalogueWriter:
    """Changes to a catalogue file, within one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._names: dict[str, int] = dict(connection.execute("select name, id from names"))
        self._vals: dict[tuple[int, Value], int] = {}
        self._held: Counter[tuple[int, int]] = Counter()

    def next_number(self) -> int:
        """The number of the next picture that is added."""
        (last,) = self._db.execute("select max(number) from images").fetchone()
        return (last or 0) + 1

    def remove(self, numbers: Sequence[int]) -> None:
        """Let pictures go, with their regions and the values that nobody else holds."""
        self._db.execute("create temp table if not exists gone (image integer primary key)")
        self._db.execute("delete from gone")
        self._db.executemany("insert into gone values (?)", ((number,) for number in numbers))
        self._db.execute(
            "insert into searched (searched, rowid, title, text, words) select 'delete', id, title, text, words "
            "from records where image in (select image from gone)"
        )
        self._db.execute("delete from records where image in (select image from gone)")
        held = "select value from holds where image in (select image from gone)"
        self._db.execute("create temp table if not exists loose (value integer primary key, held integer)")
        self._db.execute("delete from loose")
        self._db.execute(f"insert into loose select value, count(*) from ({held}) group by value")
        counts = "select name, kind, sum(held) from vals join loose on loose.value = vals.id group by name, kind"
        for name, kind, count in self._db.execute(counts):
            self._held[name, kind] -= count
        self._db.execute("delete from holds where image in (select image from gone)")
        self._db.execute(
            "delete from vals where id in (select value from loose) "
            "and not exists (select 1 from holds where holds.value = vals.id)"
        )
        self._db.execute("delete from images where number in (select image from gone)")
        self._vals.clear()

    def add(self, number: int, picture: Picture) -> None:
        """Take in a picture whose image id is not there."""
        said = title_of(picture.metadata)
        title = said or file_name(picture.location)
        self._db.execute(
            "insert into images values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number, picture.image_id, picture.batch, source_of(picture.image_id), picture.item_id, picture.ordinal,
                picture.location, picture.width, picture.height, moment_text(picture.scraped_at), title,
                clean(json.dumps(picture.metadata, sort_keys=True, ensure_ascii=False)), picture.digest,
            ),
        )  # fmt: skip
        texts = [value for _, value in fields_of(picture.metadata) if isinstance(value, str)]
        inside = [region.text for region in picture.regions if region.region and region.text]
        for region in picture.regions:
            self._record(number, region, title, [*texts, *inside])
        self._hold(number, picture, said)

    def _record(self, number: int, region: Region, title: str | None, words: Sequence[str]) -> None:
        """A row; that of the whole picture is also found by the words of its record, and of all that is in it."""
        whole = region.region == 0
        searched = (
            title if whole else None,
            clean(region.text) if region.text else None,
            BREAK.join(map(clean, words)) if whole else None,
        )
        box = region.box or (None, None, None, None)
        insert = "insert into records values (null, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        row = self._insert(insert, (number, region.region, *box, *searched))
        insert = "insert into searched (rowid, title, text, words) values (?, ?, ?, ?)"
        self._db.execute(insert, (row, *searched))

    def _hold(self, number: int, picture: Picture, title: str | None) -> None:
        said = {(name, value_of(plain)) for name, plain in fields_of(picture.metadata)}
        if title and "title" not in picture.metadata:
            said.add(("title", value_of(title)))
        held = []
        for name, value in said:
            named = self._name(name)
            self._held[named, value.kind] += 1
            held.append((self._value(named, value), number, len(picture.regions)))
        self._db.executemany("insert into holds values (?, ?, ?)", held)

    def _name(self, name: str) -> int:
        if name not in self._names:
            self._names[name] = self._insert("insert into names (name) values (?)", (name,))
        return self._names[name]

    def _value(self, name: int, value: Value) -> int:
        """The id of a value of a field, new or not; a long text is a new one each time."""
        insert = "insert into vals (name, kind, value, text) values (?, ?, ?, ?)"
        if value.kind == Kind.LONG:
            return self._insert(insert, (name, *value))
        known = self._vals.get((name, value))
        if known is None:
            query = "select id from vals where kind < 3 and name = ? and kind = ? and value = ? and text = ?"
            found = self._db.execute(query, (name, *value)).fetchone()
            known = found[0] if found else self._insert(insert, (name, *value))
            if len(self._vals) >= KNOWN:
                self._vals.clear()
            self._vals[name, value] = known
        return known

    def _insert(self, statement: str, values: Sequence[object]) -> int:
        done = self._db.execute(statement, values)
        assert done.lastrowid is not None
        return done.lastrowid

    def close(self) -> None:
        """Write down what was counted."""
        count = "insert into kinds values (?, ?, ?) on conflict do update set held = held + excluded.held"
        self._db.executemany(count, ((name, kind, held) for (name, kind), held in self._held.items()))
        self._db.execute("delete from kinds where held = 0")
        self._db.execute("delete from names where id not in (select name from kinds)")


def title_of(metadata: Mapping[str, Any]) -> str | None:
    """What a record calls its picture."""
    said = (metadata.get(name) for name in TITLES)
    return next((clean(each) for each in said if isinstance(each, str) and each.strip()), None)


def file_name(location: str) -> str | None:
    """What a picture is called whose record has no name for it: the last part of its path or address. It is shown and
    searched like a title, but no field holds it: a filter for records without a title finds it."""
    path = re.split("[?#]", location)[0] if ADDRESS.match(location) else location
    return clean(path.rpartition("/")[2]) or None


class Totals(NamedTuple):
    """What a finished file holds."""

    rows: int
    images: int


@contextmanager
def writing(path: Path, *, new: bool) -> Iterator[CatalogueWriter]:
    """A writer on a file that nobody reads; kept only if the block ends without an error."""
    # Whatever goes wrong, the file is thrown away: so nothing is synced, and no journal is written to disk.
    with telling_of_sqlite(path), closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode = memory", "synchronous = off", "secure_delete = on", f"cache_size = -{CACHE_KB}"):
            connection.execute(f"pragma {pragma}")
        if new:
            connection.executescript(TABLES)
        connection.execute("begin")
        writer = CatalogueWriter(connection)
        yield writer
        writer.close()
        connection.execute("commit")
        _pack(connection)


def _pack(connection: sqlite3.Connection) -> None:
    """Give back what removed rows left, where that is much of the file."""
    (empty,), (pages,) = (connection.execute(f"pragma {name}").fetchone() for name in ("freelist_count", "page_count"))
    if empty * SPARSE > pages:
        connection.execute("vacuum")


def proven(path: Path) -> Totals:
    """What is in a file that was just made, once SQLite has found nothing wrong with its pages.

    Raises:
        StoreError: it has; this file must not be committed.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        wrong = [line for (line,) in connection.execute("pragma quick_check") if line != "ok"]
        if wrong:
            raise StoreError(f"the catalogue as it was written is not sound ({wrong[0]}); nothing was committed")
        count = "select (select count(*) from records), (select count(*) from images)"
        return Totals(*connection.execute(count).fetchone())


def flaws(path: Path) -> list[str]:
    """What is wrong in a file, each index compared with its table and the words with the texts; writes to the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        found = [line for (line,) in connection.execute("pragma integrity_check") if line != "ok"]
        try:
            connection.execute("insert into searched (searched, rank) values ('integrity-check', 1)")
        except sqlite3.DatabaseError as error:
            found.append(f"the words are not those of the texts ({error})")
        return found
