"""Rows of a Parquet file, block by block, as plain Python values. Columns of bytes (embedded pictures) are not read."""

from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from embeddings_dagster.sources.catalog.rows import Report, Row, Unusable

_BLOCK = 4_096
_PANDAS_INDEX = "__index_level_"
_OUT_OF_RANGE = "<value out of range"  # what Arrow writes for a time beyond its calendar
# What Arrow says of damaged bytes, in Python's terms.
_FAILS = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError)


def read_parquet(file: BinaryIO, report: Report) -> Iterator[Row]:
    """The rows of `file`.

    Raises:
        Unusable: it is damaged, or no Parquet.
    """
    number = 0
    blocks = _blocks(file, report)
    told: set[str] = set()
    for block in blocks:
        names = tuple(block.schema.names)
        columns = [_values(block.column(at), name, report, told) for at, name in enumerate(names)]
        for cells in zip(*columns, strict=True):
            number += 1
            yield Row(number, number, names, list(cells))


def _blocks(file: BinaryIO, report: Report) -> Iterator[pa.RecordBatch]:
    try:
        opened = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
        schema = opened.schema_arrow
        left_out = [field.name for field in schema if _holds_bytes(field.type)]
        wanted = [name for name in schema.names if name not in left_out and not name.startswith(_PANDAS_INDEX)]
        blocks = opened.iter_batches(  # without threads: see `store.parts`
            _BLOCK, columns=None if wanted == schema.names else wanted, use_threads=False
        )
    except _FAILS as error:
        raise Unusable(f"is damaged, or no Parquet file ({_first_line(error)}); write it again") from error
    if left_out:
        report.problem(None, f"columns of bytes are not read: {', '.join(left_out[:20])}")
    while True:
        try:
            block = next(blocks, None)
        except _FAILS as error:
            raise Unusable(f"is damaged ({_first_line(error)}); write it again") from error
        if block is None:
            return
        yield block


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return True
    return any(_holds_bytes(kind.field(at).type) for at in range(kind.num_fields))


def _values(column: pa.Array, name: str, report: Report, told: set[str]) -> list[object]:
    """A column's values; times in microseconds, and as text where Python cannot hold them."""
    try:
        if pa.types.is_timestamp(column.type):
            return list(column.cast(pa.timestamp("us", column.type.tz), safe=False).to_pylist())
        return list(column.to_pylist())
    except _FAILS:
        try:
            values = column.cast(pa.string()).to_pylist()
            return [None if value and value.startswith(_OUT_OF_RANGE) else value for value in values]
        except _FAILS as error:
            if name not in told:
                told.add(name)
                report.problem(None, f"column {name!r} is left out: {_first_line(error)}; write it as text")
            return [None] * len(column)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
