"""One generation of the catalogue, opened: rows, filters, facets and words, until whoever holds it lets it go.

What is committed afterwards does not exist for it, and what `gc` takes away stays readable for it. Safe to share among
threads.
"""

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embeddings_dagster.catalog.conditions import parse_condition
from embeddings_dagster.catalog.filters import (
    COLUMNS,
    OWN,
    Filter,
    Holding,
    Sql,
    compiled,
    images_holding,
    is_ranked,
    resolve_field,
)
from embeddings_dagster.catalog.layout import open_finished, reading
from embeddings_dagster.catalog.manifest import CatalogueManifest
from embeddings_dagster.catalog.records import Cursor, Facet, Field, Record
from embeddings_dagster.catalog.values import Kind
from embeddings_dagster.errors import BadQuery
from embeddings_dagster.ids import ALL, PARTS, WHOLE, Key

EVERYTHING = Filter()
MOST = 10_000  # rows of a page, values of a facet
AT_A_TIME = 500  # keys looked up in one query
BLOCK = 4_096  # keys handed on between two looks at the database

RANK = "bm25(searched, 4.0, 2.0, 1.0)"  # a word in the title weighs more than in a text, and that more than elsewhere
SHOWN = (
    "i.image_id, r.region, i.source, i.batch, i.item_id, i.ordinal, i.location, i.width, i.height, "
    "r.x, r.y, r.w, r.h, i.scraped_at, i.title, r.text, i.metadata"
)


class Snapshot:
    """A readable state of the catalogue."""

    def __init__(self, manifest: CatalogueManifest, path: Path) -> None:
        """`path`: the generation's file on this machine, whose bytes were checked."""
        self.manifest = manifest
        self._path = str(path)
        self._lock = threading.Lock()
        # Held open to the end, so that the file may go meanwhile; SQLite lets one thread at a time into it.
        self._db = open_finished(path)

    def close(self) -> None:
        """Let it go."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> "Snapshot":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def placed(self) -> Iterator[tuple[str, str, str, int]]:
        """Every picture as the next generation begins from it: image id, digest, batch, number in the file."""
        return self._stream("select image_id, digest, batch, number from images", ())

    def count(self, wanted: Filter = EVERYTHING) -> int:
        """How many rows fulfil a filter. Raises BadQuery."""
        sql = self._compiled(wanted)
        (count,) = self._all(f"select count(*) from {_tables(wanted)} where {sql.where()}", sql.values)[0]
        return int(count)

    def find(self, wanted: Filter = EVERYTHING, *, limit: int = 20, after: Cursor | Key | None = None) -> list[Record]:
        """A page of the rows that fulfil a filter: the best match first where words are asked for, else by key.

        `after` is the `cursor` of the last row of the page before; pages of one snapshot neither skip nor repeat.

        Raises:
            BadQuery: a condition makes no sense, or `limit` is out of range.
        """
        _check_limit(limit)
        sql, ranked = self._compiled(wanted), is_ranked(wanted)
        rank, order = (RANK, "rank, i.image_id, r.region") if ranked else ("null", "i.image_id, r.region")
        if after is not None:
            _after(sql, Cursor(*after), ranked=ranked)
        elif not ranked:
            sql.add("i.image_id >= ''")  # true of all, and says to SQLite that there is an index in the order wanted
        query = (
            f"select {SHOWN}, {rank} as rank from {_tables(wanted)} where {sql.where()} order by {order} limit {limit}"
        )
        return [_record(row) for row in self._all(query, sql.values)]

    def rows(self, keys: Iterable[Key]) -> dict[Key, Record]:
        """The rows of some keys, in their order; those that the catalogue has not are left out."""
        found: dict[Key, Record] = {}
        waiting = iter(dict.fromkeys(Key(*key) for key in keys))
        while chunk := list(islice(waiting, AT_A_TIME)):
            images = sorted({key.image_id for key in chunk})
            query = f"select {SHOWN}, null from {JOINED} where i.image_id in ({', '.join('?' * len(images))})"
            records = {record.key: record for record in map(_record, self._all(query, images))}
            found |= {key: records[key] for key in chunk if key in records}
        return found

    def keys(self, wanted: Filter = EVERYTHING) -> Iterator[Key]:
        """The key of every row that fulfils a filter, ascending, as they are read. Raises BadQuery, at once."""
        sql = self._compiled(wanted)
        query = f"select i.image_id, r.region from {_tables(wanted)} where {sql.where()} order by i.image_id, r.region"
        return (Key(*row) for row in self._stream(query, sql.values))

    @cached_property
    def numbered(self) -> pa.Table:
        """Every row's `number` in this file and that of its `image` (int64), `image_id` and `region` (int16): for
        joining them with others. Read once, and kept."""
        rows = self._all(f"select r.id, r.image, i.image_id, r.region from {JOINED}", ())
        columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
        kinds = {"number": pa.int64(), "image": pa.int64(), "image_id": pa.string(), "region": pa.int16()}
        return pa.table(
            {name: pa.array(values, kind) for (name, kind), values in zip(kinds.items(), columns, strict=True)}
        )

    def numbers(self, wanted: Filter = EVERYTHING) -> npt.NDArray[np.int64]:
        """The number of every row that fulfils a filter, as `numbered` has them, in no order. Raises BadQuery.

        For filters that many rows fulfil: what SQLite finds of each condition on records is put together here, which is
        several times as fast as a join of it with all rows.
        """
        self._compiled(wanted)  # raises, whatever of it is not asked below
        of_records, others = self._split(wanted)
        number, image = self.numbered.column("number").to_numpy(), self.numbered.column("image").to_numpy()
        fulfilled = np.ones(len(number), bool)
        for holding in of_records:
            held = np.zeros(int(image.max(initial=0)) + 1, bool)
            held[self._listed(f"select group_concat(image) from ({holding.sql})", holding.values)] = True
            fulfilled &= ~held[image] if holding.opposite else held[image]
        if wanted.regions != ALL:
            region = self.numbered.column("region").to_numpy()
            fulfilled &= region == 0 if wanted.regions == WHOLE else region > 0
        if not others.is_all:
            sql = self._compiled(others)
            query = f"select group_concat(r.id) from {_tables(others)} where {sql.where()}"
            fulfilled &= np.isin(number, self._listed(query, sql.values), kind="table")
        found: npt.NDArray[np.int64] = number[fulfilled]
        return found

    def _split(self, wanted: Filter) -> tuple[list[Holding], Filter]:
        """A filter's conditions on fields of records, and all else that it asks for."""
        of_records, others = [], []
        for each in wanted.where:
            condition = parse_condition(each) if isinstance(each, str) else each
            name = resolve_field(condition.field, self._kinds)
            if name in COLUMNS:
                others.append(condition)
            else:
                own = name.removeprefix(OWN)
                of_records.append(images_holding(condition, own, self._kinds[own]))
        return of_records, replace(wanted, where=others, regions=ALL)

    def _listed(self, query: str, values: Iterable[object]) -> npt.NDArray[np.int64]:
        """The numbers that a `group_concat` gives: as one text, since a Python object of each would take longer than
        to find them."""
        ((listed,),) = self._all(query, values)
        found: npt.NDArray[np.int64] = np.fromstring(listed or "", np.int64, sep=",")
        return found

    def facets(self, name: str, wanted: Filter = EVERYTHING, *, limit: int = 20) -> list[Facet]:
        """The commonest values of a field among the rows that fulfil a filter, most rows first, then by value.

        Values that differ in case alone are one. Long texts are no values. Raises BadQuery.
        """
        _check_limit(limit)
        sql, field = self._compiled(wanted), resolve_field(name, self._kinds)
        if field in COLUMNS:
            values, bound = _values_of_column(COLUMNS[field].sql, wanted, sql), sql.values
        elif wanted.is_all:
            values, bound = VALUES_OF_ALL.format(rows=ROWS[wanted.regions]), [field.removeprefix(OWN)]
        else:
            values, bound = _values_of_some(wanted, sql), [*sql.values, field.removeprefix(OWN)]
        # With one max(), SQLite takes the other columns from the row that has it: the commonest spelling.
        query = (
            f"with found as materialized ({values}) "
            "select text, sum(rows) as total, max(rows) from found group by kind, value having total > 0 "
            f"order by total desc, kind, value limit {limit}"
        )
        return [Facet(str(text), int(total)) for text, total, _ in self._all(query, bound)]

    def fields(self) -> list[Field]:
        """The fields that records carry, by name, and how many values of each kind they have."""
        found = {name: dict.fromkeys(Kind, 0) for name in sorted(self._kinds)}
        for name, kind, held in self._held:
            found[name][kind] += held
        return [
            Field(name, each[Kind.NUMBER], each[Kind.TIME], each[Kind.TEXT] + each[Kind.LONG])
            for name, each in found.items()
        ]

    @cached_property
    def _held(self) -> list[tuple[str, Kind, int]]:
        rows = self._all("select n.name, k.kind, k.held from kinds k join names n on n.id = k.name", ())
        return [(str(name), Kind(kind), int(held)) for name, kind, held in rows]

    @cached_property
    def _kinds(self) -> Mapping[str, set[Kind]]:
        found: dict[str, set[Kind]] = {}
        for name, kind, _ in self._held:
            found.setdefault(name, set()).add(kind)
        return found

    def _compiled(self, wanted: Filter) -> Sql:
        return compiled(wanted, self._kinds)

    def _all(self, query: str, values: Iterable[object]) -> list[tuple[Any, ...]]:
        with self._lock, reading(self._path):
            return self._db.execute(query, tuple(values)).fetchall()

    def _stream(self, query: str, values: Iterable[object]) -> Iterator[tuple[Any, ...]]:
        with self._lock, reading(self._path):
            cursor = self._db.execute(query, tuple(values))
        while True:
            with self._lock, reading(self._path):
                rows = cursor.fetchmany(BLOCK)
            if not rows:
                return
            yield from rows


JOINED = "images i join records r on r.image = i.number"


def _tables(wanted: Filter) -> str:
    return f"{JOINED} join searched on searched.rowid = r.id" if is_ranked(wanted) else JOINED


def _values_of_column(column: str, wanted: Filter, sql: Sql) -> str:
    return (
        f"select 0 as kind, {column} as value, {column} as text, count(*) as rows from {_tables(wanted)} "
        f"where {sql.where()} and {column} is not null group by 2"
    )


def _values_of_some(wanted: Filter, sql: Sql) -> str:
    matched = f"select r.image, count(*) as rows from {_tables(wanted)} where {sql.where()} group by r.image"
    return (
        "select v.kind, v.value, v.text, sum(m.rows) as rows from names n join vals v on v.name = n.id and v.kind < 3 "
        f"join holds h on h.value = v.id join ({matched}) m on m.image = h.image where n.name = ? group by v.id"
    )


# Without a filter nothing needs to be matched.
VALUES_OF_ALL = (
    "select v.kind, v.value, v.text, {rows} as rows from names n "
    "join vals v on v.name = n.id and v.kind < 3 where n.name = ?"
)
HELD = "(select {} from holds h where h.value = v.id)"
ROWS = {ALL: HELD.format("sum(h.rows)"), PARTS: HELD.format("sum(h.rows - 1)"), WHOLE: HELD.format("count(*)")}


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MOST:
        raise BadQuery(f"{limit} at a time cannot be had; it is 1 to {MOST:,}, and pages go on with `after`")


def _after(sql: Sql, after: Cursor, *, ranked: bool) -> None:
    if ranked != (after.score is not None):
        raise BadQuery("`after` is of another query: ranked pages go on from a hit with a score, others from a key")
    place = "i.image_id >= ? and (i.image_id > ? or r.region > ?)"
    key = (after.image_id, after.image_id, after.region)
    if after.score is None:
        sql.add(place, *key)
    else:
        sql.add(f"({RANK} > ? or ({RANK} = ? and {place}))", -after.score, -after.score, *key)


def _record(row: tuple[Any, ...]) -> Record:
    image_id, region, source, batch, item_id, ordinal, location, width, height, *rest = row
    x, y, w, h, scraped_at, title, text, metadata, rank = rest
    box = None if x is None else (x, y, w, h)
    moment = datetime.fromisoformat(scraped_at) if scraped_at else None
    return Record(
        image_id, region, source, batch, item_id, ordinal, location, width, height, box, moment, title, text,
        json.loads(metadata), None if rank is None else -rank,
    )  # fmt: skip
