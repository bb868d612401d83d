"""Where a vector that was computed before lies: `input_hash` → part and row, for one model and fingerprint.

Derived, and kept under `cache/`: it may be deleted at any time. It may miss a vector; it never returns a wrong one,
because the row it points to is read through the same checks as any other and must carry the hash that was asked for.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from embeddings_dagster.errors import CorruptFile
from embeddings_dagster.store.parts import Part

if TYPE_CHECKING:
    from embeddings_dagster.store.chain import Chain
    from embeddings_dagster.store.store import Store

Vector = npt.NDArray[np.float32]
Result = TypeVar("Result")
TABLES = """
create table if not exists synced (batch text primary key, version integer) without rowid;
create table if not exists parts (id integer primary key, batch text, file text, sha256 text, unique (batch, file));
create table if not exists vectors (input_hash text, part integer, row integer, primary key (input_hash, part))
    without rowid;
"""
FIND = """select part, batch, file, sha256, input_hash, row from vectors join parts on parts.id = part
    where input_hash in ({marks})"""
CHUNK = 500  # variables in one SQLite statement


class _PartRef(NamedTuple):
    id: int
    batch: str
    file: str
    sha256: str


class VectorLookup:
    """The vectors of all committed parts of a dataset, of rows that died since, too."""

    def __init__(self, store: "Store", dataset: str, database: Path) -> None:
        self._store = store
        self._dataset = dataset
        self._database = database

    def sync(self) -> None:
        """Take in what was committed since the last time; each manifest and each part is read once."""
        self._guarded(self._sync)

    def find(self, input_hashes: Iterable[str]) -> dict[str, Vector]:
        """The vectors there are, by input hash: float32 arrays of shape (D,). What is not found is left out."""
        wanted = sorted(set(input_hashes))
        return self._guarded(lambda connection: self._find(connection, wanted))

    def _guarded(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Do `work`, and once more where the file was deleted meanwhile, or is not a database."""
        try:
            with self._connected() as connection:
                return work(connection)
        except sqlite3.DatabaseError as error:
            if not isinstance(error, sqlite3.OperationalError):
                self._database.unlink(missing_ok=True)
            with self._connected() as connection:
                return work(connection)

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        self._database.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._database, timeout=60, isolation_level=None)) as connection:
            connection.execute("pragma synchronous = off")  # derived: a loss costs another sync
            connection.executescript(TABLES)
            yield connection

    def _sync(self, connection: sqlite3.Connection) -> None:
        for batch in self._store.batches(self._dataset):
            chain = self._store.chain(self._dataset, batch)
            with _transaction(connection):
                found = connection.execute("select version from synced where batch = ?", (batch,)).fetchone()
                versions = [number for number in chain.versions.numbers() if not found or number > found[0]]
                for number in versions:
                    with suppress(CorruptFile):  # `verify` is who complains; a vector less is a vector computed again
                        for entry in chain.get(number).parts:
                            _take_in(connection, chain, entry.file, entry.sha256)
                if versions:
                    connection.execute("insert or replace into synced values (?, ?)", (batch, versions[-1]))

    def _find(self, connection: sqlite3.Connection, wanted: list[str]) -> dict[str, Vector]:
        found: dict[str, Vector] = {}
        for ref, rows in _candidates(connection, wanted):
            missing = {row: input_hash for row, input_hash in rows.items() if input_hash not in found}
            if not missing:
                continue
            try:
                with self._store.chain(self._dataset, ref.batch).part(ref.file, ref.sha256) as part:
                    found.update(_read_rows(part, missing))
            except CorruptFile:  # or gone, which is how gc leaves it
                with _transaction(connection):
                    connection.execute("delete from vectors where part = ?", (ref.id,))
                    connection.execute("delete from parts where id = ?", (ref.id,))
        return found


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Two processes that sync at once take turns, and the second finds the work done."""
    connection.execute("begin immediate")
    with connection:
        yield


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
    connection.executemany("insert or replace into vectors values (?, ?, ?)", rows)


def _candidates(connection: sqlite3.Connection, wanted: list[str]) -> list[tuple[_PartRef, dict[int, str]]]:
    """The parts that may have any of the hashes, newest first, with the rows to look at."""
    rows: dict[_PartRef, dict[int, str]] = defaultdict(dict)
    for start in range(0, len(wanted), CHUNK):
        chunk = wanted[start : start + CHUNK]
        statement = FIND.format(marks=", ".join("?" * len(chunk)))
        for *ref, input_hash, row in connection.execute(statement, chunk):
            rows[_PartRef(*ref)][row] = input_hash
    return sorted(rows.items(), key=lambda item: item[0].id, reverse=True)


def _read_rows(part: Part, wanted: dict[int, str]) -> Iterator[tuple[str, Vector]]:
    """The vectors of some rows, of row groups that hold any; a row that carries another hash is left out."""
    start = 0
    for number, count in enumerate(part.group_rows()):
        rows = [row - start for row in wanted if start <= row < start + count]
        if rows:
            group = part.read_group(number, ("input_hash", "embedding")).take(rows)
            vectors = group.column("embedding").flatten().to_numpy().reshape(len(rows), -1)
            for row, input_hash, vector in zip(rows, group.column("input_hash").to_pylist(), vectors, strict=True):
                if wanted[start + row] == input_hash:
                    yield input_hash, vector
        start += count
