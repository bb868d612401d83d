"""Where a vector that was computed before lies: `input_hash` → part and row, for one model and fingerprint.

Derived, and kept under `cache/`: it may be deleted at any time. It may miss a vector; it never returns a wrong one,
because the row it points to is read through the same checks as any other and must carry the hash that was asked for.
"""

import sqlite3
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from embeddings_dagster.errors import CorruptFile
from embeddings_dagster.store.files import Stat
from embeddings_dagster.store.parts import Part
from embeddings_dagster.store.remembered import Remembered, transaction

if TYPE_CHECKING:
    from embeddings_dagster.store.chain import Chain
    from embeddings_dagster.store.store import Store

Vector = npt.NDArray[np.float32]
TABLES = """
create table if not exists taken (batch text primary key, version integer, state text) without rowid;
create table if not exists name (name text);
create table if not exists parts (id integer primary key, batch text, file text, sha256 text, unique (batch, file));
create table if not exists vectors (input_hash text, part integer, row integer, primary key (input_hash, part))
    without rowid;
"""
FIND = """select part, batch, file, sha256, input_hash, row from vectors join parts on parts.id = part
    where input_hash in ({marks})"""
# A picture that is in every batch, such as "no image", would make each look for it read as many places as there are
# batches. A few places are enough: one that is gone when it is needed is forgotten, and a new one then remembered.
INSERT = """insert or replace into vectors select ?1, ?2, ?3
    where (select count(*) from vectors where input_hash = ?1) < 4"""
READ = ("input_hash", "embedding", "precision")
CHUNK = 500  # variables in one SQLite statement


class _PartRef(NamedTuple):
    id: int
    batch: str
    file: str
    sha256: str


class Known(NamedTuple):
    """A vector that was computed before, float32 (D,), and what it was computed in."""

    vector: Vector
    precision: str


class Listing(NamedTuple):
    """A listing of all batches: for which database, and when, in seconds of the monotonic clock."""

    name: str
    at: float


class VectorLookup:
    """The vectors of all committed parts of a dataset, of rows that died since, too."""

    def __init__(self, store: "Store", dataset: str, database: Path, listings: "MutableMapping[Path, Listing]") -> None:
        """`listings`: when this process last listed the batches, by database."""
        self._store = store
        self._dataset = dataset
        self._remembered = Remembered(database, TABLES)
        self._listings = listings

    def sync(self, *, every: float = 0.0) -> None:
        """Take in what was committed since the last time; each manifest and each part is read once.

        To tell what is new, all batches are listed; a process that has done so within `every` seconds does not again.
        """
        self._remembered.do(lambda connection: self._sync(connection, every))

    def sync_batch(self, batch: str) -> None:
        """Take in what was committed in one batch; no other is looked at."""
        chain = self._store.chain(self._dataset, batch)

        def take(connection: sqlite3.Connection) -> None:
            if numbers := chain.versions.numbers():
                stat = self._store.files.stat(chain.versions.path(numbers[-1]))
                _take_batch(connection, chain, numbers[-1], _state(stat))

        self._remembered.do(take)

    def find(self, input_hashes: Iterable[str]) -> dict[str, Known]:
        """The vectors there are, by input hash. What is not found is left out."""
        wanted = sorted(set(input_hashes))
        return self._remembered.do(lambda connection: self._find(connection, wanted))

    def _sync(self, connection: sqlite3.Connection, every: float) -> None:
        name, now = _name(connection), time.monotonic()
        last = self._listings.get(self._remembered.database)
        if last is not None and last.name == name and now - last.at < every:
            return
        taken = {batch: (version, state) for batch, version, state in connection.execute("select * from taken")}
        for batch, (file, stat) in self._store.newest(self._dataset).items():
            number, state = int(file.partition(".")[0]), _state(stat)
            if taken.get(batch) != (number, state):
                _take_batch(connection, self._store.chain(self._dataset, batch), number, state)
        self._listings[self._remembered.database] = Listing(name, now)

    def _find(self, connection: sqlite3.Connection, wanted: list[str]) -> dict[str, Known]:
        found: dict[str, Known] = {}
        for ref, rows in _candidates(connection, wanted):
            missing = {row: input_hash for row, input_hash in rows.items() if input_hash not in found}
            if not missing:
                continue
            try:
                with self._store.chain(self._dataset, ref.batch).part(ref.file, ref.sha256) as part:
                    found.update(_read_rows(part, missing))
            except CorruptFile:  # or gone, which is how gc leaves it
                with transaction(connection):
                    connection.execute("delete from vectors where part = ?", (ref.id,))
                    connection.execute("delete from parts where id = ?", (ref.id,))
        return found


def _name(connection: sqlite3.Connection) -> str:
    """The name of this database: one that was deleted and made again has another."""
    if not (found := connection.execute("select name from name").fetchone()):
        with transaction(connection):
            connection.execute("insert into name select ? where not exists (select * from name)", (uuid.uuid4().hex,))
            found = connection.execute("select name from name").fetchone()
    return str(found[0])


def _state(stat: Stat | None) -> str:
    return "" if stat is None else f"{stat.size} {stat.mtime_ns} {stat.identity}"


def _take_batch(connection: sqlite3.Connection, chain: "Chain", newest: int, state: str) -> None:
    """Take in the versions that were not taken yet; all of them, where the batch was erased and begun again."""
    with transaction(connection):
        found = connection.execute("select version from taken where batch = ?", (chain.batch,)).fetchone()
        before = found[0] if found and found[0] < newest else 0
        for number in chain.versions.numbers():
            if number > before:
                with suppress(CorruptFile):  # `verify` is who complains; a vector less is a vector computed again
                    for entry in chain.get(number).parts:
                        _take_in(connection, chain, entry.file, entry.sha256)
        connection.execute("insert or replace into taken values (?, ?, ?)", (chain.batch, newest, state))


def _take_in(connection: sqlite3.Connection, chain: "Chain", file: str, sha256: str) -> None:
    if connection.execute("select 1 from parts where batch = ? and file = ?", (chain.batch, file)).fetchone():
        return
    try:
        with chain.part(file, sha256) as part:
            hashes = part.read(("input_hash",)).column("input_hash").to_pylist()
    except CorruptFile:  # or gone
        return
    inserted = connection.execute(
        "insert into parts (batch, file, sha256) values (?, ?, ?)", (chain.batch, file, sha256)
    )
    rows = ((input_hash, inserted.lastrowid, row) for row, input_hash in enumerate(hashes))
    connection.executemany(INSERT, rows)


def _candidates(connection: sqlite3.Connection, wanted: list[str]) -> list[tuple[_PartRef, dict[int, str]]]:
    """The parts that may have any of the hashes, newest first, with the rows to look at."""
    rows: dict[_PartRef, dict[int, str]] = defaultdict(dict)
    for start in range(0, len(wanted), CHUNK):
        chunk = wanted[start : start + CHUNK]
        statement = FIND.format(marks=", ".join("?" * len(chunk)))
        for *ref, input_hash, row in connection.execute(statement, chunk):
            rows[_PartRef(*ref)][row] = input_hash
    return sorted(rows.items(), key=lambda item: item[0].id, reverse=True)


def _read_rows(part: Part, wanted: dict[int, str]) -> Iterator[tuple[str, Known]]:
    """The vectors of some rows, of row groups that hold any; a row that carries another hash is left out."""
    start = 0
    for number, count in enumerate(part.group_rows()):
        rows = [row - start for row in wanted if start <= row < start + count]
        if rows:
            group = part.read_group(number, READ).take(rows)
            vectors = group.column("embedding").flatten().to_numpy().reshape(len(rows), -1)
            said = (group.column(name).to_pylist() for name in ("input_hash", "precision"))
            for row, input_hash, precision, vector in zip(rows, *said, vectors, strict=True):
                if wanted[start + row] == input_hash:
                    yield input_hash, Known(vector, precision or "fp32")
        start += count
