"""Parts: immutable Parquet files, written in bounded memory and read one row group at a time.

Every page carries a checksum that reading verifies, so a bit that flips after the file's sha256 was checked is an
error too, and never a value.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from embeddings_dagster.errors import CorruptFile, StorageFailed
from embeddings_dagster.ids import Key
from embeddings_dagster.store.checked import REMEDY
from embeddings_dagster.store.files import Files
from embeddings_dagster.store.hashed import Hashed

# A thread of Arrow's may hold on to the Python handle for a moment after a read, and a process that ends in that moment
# is aborted (3 of 100 short commands were). So no thread but the reader's gets it.
WITHOUT_THREADS = {"use_threads": False}
KEY_COLUMNS = ("image_id", "region", "input_hash")


class Written(NamedTuple):
    """A part that is on disk."""

    rows: int
    bytes: int
    sha256: str


def write_part(
    files: Files, path: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch], row_group_bytes: int
) -> Written:
    """Write one part. Row groups close before they would pass `row_group_bytes` (of Arrow memory), if rows allow."""
    rows = 0
    with files.writing(path) as handle:
        sink = Hashed(handle)
        with pq.ParquetWriter(sink, schema, **_options(schema)) as writer:
            for group in _groups(batches, row_group_bytes):
                writer.write_table(pa.Table.from_batches(group, schema), row_group_size=sum(map(len, group)))
                rows += sum(map(len, group))
        sink.require_written()
    return Written(rows, sink.bytes, sink.sha256)


def _groups(batches: Iterable[pa.RecordBatch], limit: int) -> Iterator[list[pa.RecordBatch]]:
    group: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        if group and size + batch.nbytes > limit:
            yield group
            group, size = [], 0
        group.append(batch)
        size += batch.nbytes
    if group:
        yield group


def _options(schema: pa.Schema) -> dict[str, object]:
    """zstd, except for what is compressed already (pictures) or does not compress (floats); statistics on keys only."""
    leaves = [leaf for column in schema for leaf in _leaves(column.name, column.type)]
    dense = [path for path, kind in leaves if pa.types.is_floating(kind) or _is_binary(kind)]
    return {
        "compression": {path: "zstd" for path, _ in leaves if path not in dense},
        "use_dictionary": [path for path, _ in leaves if path not in dense],
        "write_statistics": [name for name in KEY_COLUMNS if name in schema.names],
        "write_page_checksum": True,
    }


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _leaves(path: str, kind: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    """The Parquet columns of an Arrow column, by the paths Parquet gives them."""
    if pa.types.is_struct(kind):
        for child in kind:
            yield from _leaves(f"{path}.{child.name}", child.type)
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _leaves(f"{path}.list.element", kind.value_type)
    else:
        yield path, kind


class Part:
    """An opened part. `name` is for messages."""

    def __init__(self, handle: BinaryIO, name: str) -> None:
        self._name = name
        with self._parsing():
            self._file = pq.ParquetFile(handle, page_checksum_verification=True, pre_buffer=False)

    @contextmanager
    def _parsing(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno:
                # The disk or the network failed, which says nothing about the file.
                raise StorageFailed.of(error, self._name, "read") from error
            raise CorruptFile(f"{self._name} cannot be parsed ({error}). {REMEDY}") from error

    @property
    def rows(self) -> int:
        return int(self._file.metadata.num_rows)

    def group_rows(self) -> list[int]:
        """How many rows each row group has."""
        metadata = self._file.metadata
        return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]

    def read_group(self, number: int, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        """One row group; columns the file lacks are left out."""
        with self._parsing():
            return _one_batch(self._file.read_row_group(number, columns, **WITHOUT_THREADS))

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        with self._parsing():
            return self._file.read(columns, **WITHOUT_THREADS)

    def row_keys(self) -> list[Key]:
        """The key of every row, dead ones included."""
        return keys_of(self.read(("image_id", "region")))


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], table.schema)


def keys_of(rows: pa.Table | pa.RecordBatch) -> list[Key]:
    """The keys of rows; a table without a `region` column has whole images only (region 0)."""
    images = rows.column("image_id").to_pylist()
    regions = rows.column("region").to_pylist() if "region" in rows.schema.names else [0] * len(images)
    return list(map(Key, images, regions))
