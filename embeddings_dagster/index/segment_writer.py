"""Writes flat segments and the deletions of a generation: new files only, which nothing refers to until the commit.

A segment holds the vectors twice: `index.faiss`, which plain faiss opens, and `vectors.npy`, which anything opens and
from which an index of another kind can be built again.
"""

import uuid
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embeddings_dagster.errors import StoreError
from embeddings_dagster.index.copies import Copies
from embeddings_dagster.index.library import library
from embeddings_dagster.index.manifest import FLAT, DeletionsEntry, FileEntry, SegmentEntry
from embeddings_dagster.store import Files
from embeddings_dagster.store.hashed import Hashed
from embeddings_dagster.store.parts import write_part
from embeddings_dagster.store.steps import reached

INDEX, VECTORS, ROWS = "index.faiss", "vectors.npy", "rows.parquet"
COPIES = "copies.npy"  # where a vector is repeated: int32 (2, copies), the label of each and its node in `index.faiss`
ROW_GROUP_BYTES = 16 * 2**20

ROWS_SCHEMA = pa.schema(
    [
        pa.field("label", pa.int64(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("region", pa.int16(), nullable=False),
        pa.field("input_hash", pa.string(), nullable=False),
        pa.field("batch", pa.string(), nullable=False),
    ]
)

Vectors = npt.NDArray[np.float32]


class Block(NamedTuple):
    """Some rows of a segment to be: `rows` has image_id, region and input_hash, `vectors` is float32 (rows, D)."""

    rows: pa.RecordBatch
    batch: str
    vectors: Vectors


def write_segment(
    files: Files, folder: str, name: str, dimension: int, rows: int, blocks: Iterable[Block]
) -> SegmentEntry:
    """Write `rows` rows, labelled in the order they come, as the segment `name` (a new UUID) under `folder`.

    Holds the vectors once in memory. Where it fails, files may be left: `discard_segment` removes them.

    Raises:
        StoreError: `blocks` hold another number of rows, or vectors of another dimension.
    """
    index = library().IndexFlatIP(dimension)

    def added() -> Iterator[Block]:
        for block in blocks:
            if block.vectors.shape == (len(block.rows), dimension):
                index.add(np.ascontiguousarray(block.vectors, dtype=np.float32))
            yield block

    parts = write_rows(files, folder, name, dimension, rows, added())
    parts[INDEX] = write_faiss(files, folder, name, index)
    reached("segment:written")
    return SegmentEntry(name, FLAT, rows, parts)


def write_rows(
    files: Files, folder: str, name: str, dimension: int, rows: int, blocks: Iterable[Block]
) -> dict[str, FileEntry]:
    """The files of a segment but its index, written as the blocks come; raises as `write_segment` does."""
    tables: list[pa.RecordBatch] = []
    count = 0
    with files.writing(f"{folder}/segments/{name}/{VECTORS}") as handle:
        vectors = Hashed(handle)
        _write_header(vectors, "<f4", (rows, dimension))
        for block in blocks:
            if block.vectors.shape != (len(block.rows), dimension):
                raise StoreError(f"vectors of shape {block.vectors.shape}, not {(len(block.rows), dimension)}")
            tables.append(_labelled(block, count))
            vectors.write(np.ascontiguousarray(block.vectors, dtype="<f4").tobytes())
            count += len(block.rows)
        if count != rows:
            raise StoreError(f"{count} vectors where {rows} were announced; the segment was not written")
    written = write_part(files, f"{folder}/segments/{name}/{ROWS}", ROWS_SCHEMA, tables, ROW_GROUP_BYTES)
    return {VECTORS: _entry(vectors), ROWS: FileEntry(written.bytes, written.sha256)}


def write_faiss(files: Files, folder: str, name: str, index: Any) -> FileEntry:
    """The index of a segment."""
    with files.writing(f"{folder}/segments/{name}/{INDEX}") as handle:
        sink = Hashed(handle)
        try:
            library().write_index(index, library().PyCallbackIOWriter(sink.write))
        except RuntimeError:  # faiss knows of nothing but that its writer failed
            sink.require_written()
            raise
    return _entry(sink)


def write_copies(files: Files, folder: str, name: str, copies: Copies) -> FileEntry:
    """Which rows of a segment are not in its index, and what they are copies of."""
    with files.writing(f"{folder}/segments/{name}/{COPIES}") as handle:
        sink = Hashed(handle)
        _write_header(sink, "<i4", (2, len(copies)))
        sink.write(np.stack([copies.labels, copies.nodes]).astype("<i4").tobytes())
    return _entry(sink)


def discard_segment(files: Files, folder: str, name: str) -> None:
    """Remove what there is of a segment that no generation names."""
    for file in (INDEX, VECTORS, ROWS, COPIES):
        files.delete(f"{folder}/segments/{name}/{file}")


def _write_header(sink: Any, kind: str, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(sink, {"descr": kind, "fortran_order": False, "shape": shape})


def _labelled(block: Block, first: int) -> pa.RecordBatch:
    rows = block.rows
    labels = pa.array(np.arange(first, first + len(rows)), pa.int64())
    batches = pa.array([block.batch], pa.string()).take(pa.array(np.zeros(len(rows), np.int64)))
    columns = [labels, rows.column("image_id"), rows.column("region"), rows.column("input_hash"), batches]
    return pa.RecordBatch.from_arrays(columns, schema=ROWS_SCHEMA)


def write_deletions(files: Files, folder: str, labels: npt.NDArray[np.int64]) -> DeletionsEntry:
    """Write the dead rows of a segment, ascending, as a new file under `folder`."""
    file = f"deletions/{uuid.uuid4().hex}.npy"
    with files.writing(f"{folder}/{file}") as handle:
        sink = Hashed(handle)
        _write_header(sink, "<i8", labels.shape)
        sink.write(labels.astype("<i8").tobytes())
    reached("deletions:written")
    return DeletionsEntry(file, len(labels), *_entry(sink))


def _entry(written: Hashed) -> FileEntry:
    return FileEntry(written.bytes, written.sha256)
