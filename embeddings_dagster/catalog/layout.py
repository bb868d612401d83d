"""The tables of a catalogue's SQLite file, and how a finished one is opened.

A picture has one row in `images`, and in `records` one for itself and each part. Every value of its record is in `vals`
once, however many pictures hold it; `holds` says which do, and how many rows each has. So filters and facets touch
values, not rows. `kinds` counts what `holds` has, for each field. `searched` is the full text of `records`, and keeps
no text of its own.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from embeddings_dagster.catalog.values import fold
from embeddings_dagster.errors import CorruptFile

LAYOUT = 2  # raise it when tables, or what stands in them for the same record, come out differently: all is made anew

TABLES = """
create table images (number integer primary key, image_id text not null unique, batch text not null,
    source text not null, item_id text not null, ordinal integer not null, location text not null, width integer,
    height integer, scraped_at text, title text, metadata text not null, digest text not null);
create index images_by_batch on images (batch);
create table records (id integer primary key, image integer not null, region integer not null, x integer, y integer,
    w integer, h integer, title text, text text, words text, unique (image, region));
create table names (id integer primary key, name text not null unique);
create table vals (id integer primary key, name integer not null, kind integer not null, value not null,
    text text not null);
create unique index vals_by_value on vals (name, kind, value, text) where kind < 3;
create index vals_that_are_long on vals (name) where kind = 3;
create table holds (value integer not null, image integer not null, rows integer not null,
    primary key (value, image)) without rowid;
create unique index holds_by_image on holds (image, value);
create table kinds (name integer not null, kind integer not null, held integer not null,
    primary key (name, kind)) without rowid;
create virtual table searched using fts5 (title, text, words, content = 'records', content_rowid = 'id',
    tokenize = 'unicode61 remove_diacritics 2');
"""
CACHE_KB = 65_536


def open_finished(path: Path) -> sqlite3.Connection:
    """A connection that can only read, for use by one thread at a time. The file must not be written to any more."""
    # Percent-encoded as bytes, so that no name of a folder is read as a part of the address.
    address = f"file:{quote(bytes(path.absolute()))}?mode=ro&immutable=1"
    connection = sqlite3.connect(address, uri=True, check_same_thread=False, isolation_level=None)
    connection.execute("pragma query_only = on")
    connection.execute("pragma trusted_schema = off")
    connection.execute(f"pragma cache_size = -{CACHE_KB}")
    connection.create_function("fold", 1, _fold, deterministic=True)
    return connection


def _fold(text: str | None) -> str | None:
    return None if text is None else fold(text)


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Name the file where SQLite finds that it is damaged, though its hash was right when it was opened."""
    try:
        yield
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise CorruptFile(f"{path} cannot be read ({error}); {REMAKE}") from error


REMAKE = "delete it and run again: the catalogue is made anew from raw_images"
