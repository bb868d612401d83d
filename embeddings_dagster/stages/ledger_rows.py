"""The rows of many batches of a ledger at once.

Each batch has a part of its own, and opening ten thousand small ones takes longer than all else that a look does. So
the rows of small parts are remembered together, each with the sha256 of its part: a part that is replaced is read.
"""

import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from embeddings_dagster.stages.ledger_columns import Mask
from embeddings_dagster.store import LedgerBatch, LedgerManifest, Store
from embeddings_dagster.store.tables import LEDGER

REMEMBERED = LEDGER.append(pa.field("part_sha256", pa.dictionary(pa.int32(), pa.string())))
SMALL = 1000  # rows; opening a larger part is not what reading it costs
WORTH = 250  # small parts: fewer are opened as quickly as a file that has them all
TOGETHER = 500  # tables of a few rows weigh kilobytes each, so they are put together now and then
PARTS_READ = 32  # Arrow keeps what it decoded a part with; after some, that is as much as the rows themselves
ORDER = [(name, "ascending") for name in ("batch", "local_id", "ordinal")]


def ledger_rows(store: Store, source: str, manifest: LedgerManifest | None, batches: Iterable[str]) -> pa.Table:
    """The rows of some batches (schema `LEDGER`), tombstones included, sorted by batch, local id and ordinal.

    Raises:
        CorruptFile, MissingFile: a part is not what was committed.
    """
    if manifest is None:
        return LEDGER.empty_table()
    wanted = {key: manifest.batches[key] for key in sorted(set(batches)) if key in manifest.batches}
    small = {key: entry for key, entry in wanted.items() if entry.rows < SMALL}
    if len(small) < WORTH:
        return _read(store, source, manifest, wanted)
    memory = store.cache / "ledgers" / f"{source}.rows"
    known = _still_so(_recall(memory), small)
    there = set(known["batch"].unique().to_pylist())
    read = _read(store, source, manifest, [key for key in wanted if key not in there])
    if len(small) - len(there) >= WORTH:
        _remember(memory, _merged([known, _with_parts(read, small)]))
    return _merged([_sharing(known.select(LEDGER.names)), read])


def _merged(tables: list[pa.Table]) -> pa.Table:
    """Sorted tables as one; where all rows are of one, it is not copied."""
    filled = [table for table in tables if len(table)]
    if len(filled) < 2:
        return filled[0] if filled else tables[0]
    return pa.concat_tables(filled).unify_dictionaries().sort_by(ORDER)


def _recall(path: Path) -> pa.Table:
    """What is remembered. The file begins with the sha256 of the rest, for what is in it is committed again."""
    with suppress(OSError, KeyError, ValueError, pa.ArrowException):
        seal, _, data = path.read_bytes().partition(b"\n")
        if seal == _seal(data):
            return pq.ParquetFile(pa.BufferReader(data)).read().select(REMEMBERED.names).cast(REMEMBERED)
    return REMEMBERED.empty_table()


def _remember(path: Path, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    data = sink.getvalue().to_pybytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(_seal(data) + b"\n" + data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _seal(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def _still_so(remembered: pa.Table, entries: dict[str, LedgerBatch]) -> pa.Table:
    """The remembered rows of those batches whose part is still the one they are from."""
    parts = {key: entry.sha256 for key, entry in entries.items()}
    runs = pc.value_counts(remembered["batch"])  # sorted by batch: in the order of the rows
    counts = np.asarray(runs.field("counts"), np.int64)
    first = remembered["part_sha256"].take(pa.array(np.cumsum(counts) - counts)).to_pylist()
    same = [parts.get(key) == sha256 for key, sha256 in zip(runs.field("values").to_pylist(), first, strict=True)]
    keep: Mask = np.repeat(np.array(same, np.bool_), counts)
    return remembered if keep.all() else remembered.filter(pa.array(keep))


def _with_parts(rows: pa.Table, entries: dict[str, LedgerBatch]) -> pa.Table:
    """The rows of those batches, each with the sha256 of its part."""
    if not set(rows["batch"].unique().to_pylist()) <= entries.keys():
        rows = rows.filter(pc.is_in(rows["batch"], value_set=pa.array([*entries], pa.string())))
    column = rows["batch"].dictionary_encode().unify_dictionaries()
    keys = column.chunk(0).dictionary.to_pylist() if len(rows) else []
    parts = pa.array([entries[key].sha256 for key in keys], pa.string())
    chunks = [pa.DictionaryArray.from_arrays(chunk.indices, parts) for chunk in column.chunks]
    field = REMEMBERED.field("part_sha256")
    return rows.append_column(field, pa.chunked_array(chunks, field.type))


def _read(store: Store, source: str, manifest: LedgerManifest, keys: Iterable[str]) -> pa.Table:
    ledger = store.ledger(source)
    return pa.concat_tables([LEDGER.empty_table(), *_together(ledger.rows(manifest, key) for key in keys)])


def _together(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    held: list[pa.Table] = []
    for table in tables:
        if len(table) >= SMALL:
            if held:
                yield _sharing(pa.concat_tables(held).combine_chunks())
                held = []
            yield _sharing(table)
            continue
        held.append(table)
        if len(held) == TOGETHER:
            yield _sharing(pa.concat_tables(held).combine_chunks())
            held = []
    if held:
        yield _sharing(pa.concat_tables(held).combine_chunks())


def _sharing(rows: pa.Table) -> pa.Table:
    """The same rows; columns that repeat the local id, as those of a folder do, take no memory of their own."""
    for name in ("item_id", "location"):
        if rows[name].equals(rows["local_id"]):
            rows = rows.set_column(rows.schema.get_field_index(name), LEDGER.field(name), rows["local_id"])
    return rows
