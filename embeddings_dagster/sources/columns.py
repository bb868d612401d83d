"""Entries collected into columns as they are found, so that a million of them never exist as Python objects."""

from collections.abc import Iterable
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from embeddings_dagster.sources.base import SCAN

_FILES = pa.schema([SCAN.field(name) for name in ("local_id", "location", "size", "mtime_ns")])
_BLOCK = 16_384
_WIDE_BLOCK = 2_048


class Entry(NamedTuple):
    """A row of schema `SCAN`."""

    local_id: str
    item_id: str
    ordinal: int
    batch: str | None
    location: str
    size: int | None
    mtime_ns: int | None
    etag: str | None
    record_hash: str | None
    record_file: str | None


class RecordColumns:
    """Grows block by block; `table` gives the entries in the order in which they came."""

    def __init__(self) -> None:
        self._blocks: list[pa.RecordBatch] = []
        self._rows: list[Entry] = []

    def extend(self, entries: Iterable[Entry]) -> None:
        self._rows += entries
        if len(self._rows) >= _WIDE_BLOCK:
            self._flush()

    def table(self) -> pa.Table:
        """Schema `SCAN`."""
        self._flush()
        return pa.Table.from_batches(self._blocks, schema=SCAN)

    def _flush(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, SCAN, strict=True)]
            if arrays[1].equals(arrays[0]):
                arrays[1] = arrays[0]  # an item with its own id for a local id: once in memory
            self._blocks.append(pa.record_batch(arrays, schema=SCAN))
            self._rows.clear()


class EntryColumns:
    """Grows block by block; `table` gives all entries sorted. One picture per item: the item is the file."""

    def __init__(self) -> None:
        self._blocks: list[pa.RecordBatch] = []
        self._rows: list[tuple[str, str, int | None, int | None]] = []

    def add(self, local_id: str, location: str, size: int | None, mtime_ns: int | None) -> None:
        self._rows.append((local_id, location, size, mtime_ns))
        if len(self._rows) >= _BLOCK:
            self._flush()

    def table(self) -> pa.Table:
        """Schema `SCAN`, sorted by local id; columns that say the same share their memory."""
        self._flush()
        found = pa.Table.from_batches(self._blocks, schema=_FILES)
        self._blocks.clear()
        no_prefix = pc.all(pc.equal(found["local_id"], found["location"])).as_py()
        found = (found.drop_columns(["location"]) if no_prefix else found).sort_by([("local_id", "ascending")])
        ids = found["local_id"]
        columns = {"item_id": ids, "location": ids, **dict(zip(found.column_names, found.columns, strict=True))}
        columns["ordinal"] = pa.repeat(pa.scalar(0, pa.int32()), len(found))
        nothing = pa.nulls(len(found), pa.string())
        return pa.table([columns.get(name, nothing) for name in SCAN.names], schema=SCAN)

    def _flush(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, _FILES, strict=True)]
            self._blocks.append(pa.record_batch(arrays, schema=_FILES))
            self._rows.clear()
