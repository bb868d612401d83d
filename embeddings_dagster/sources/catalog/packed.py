"""Metadata of many rows in little memory: blocks of JSON, compressed; a fifth of what the text would take."""

import json
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa

from embeddings_dagster.sources.base import Plain

BLOCK = 512  # rows; a block is unpacked as a whole
_CODEC = "zstd"


class PackedMetadata:
    """Metadata by the number of its row, from 0, in the order in which they were added."""

    def __init__(self) -> None:
        self._blocks: list[tuple[bytes, int]] = []
        self._open: list[Mapping[str, Plain]] = []

    def add(self, metadata: Mapping[str, Plain]) -> None:
        self._open.append(metadata)
        if len(self._open) == BLOCK:
            text = json.dumps(self._open).encode()
            self._blocks.append((pa.compress(text, _CODEC, asbytes=True), len(text)))
            self._open = []

    def take(self, rows: Iterable[int]) -> dict[int, dict[str, Plain]]:
        """The metadata of some rows, each block being unpacked once."""
        found: dict[int, dict[str, Plain]] = {}
        number, block = -1, []
        for row in sorted(set(rows)):
            if row // BLOCK != number:
                number = row // BLOCK
                block = self._block(number)
            found[row] = block[row % BLOCK]
        return found

    @property
    def nbytes(self) -> int:
        return sum(len(packed) for packed, _ in self._blocks) + BLOCK * 1_024

    def _block(self, number: int) -> list[dict[str, Plain]]:
        if number == len(self._blocks):
            return [dict(each) for each in self._open]
        packed, size = self._blocks[number]
        unpacked: list[dict[str, Plain]] = json.loads(pa.decompress(packed, size, _CODEC, asbytes=True))
        return unpacked


class Growing:
    """A table that grows row by row, without a Python object being kept for each cell."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._blocks: list[pa.RecordBatch] = []
        self._rows: list[tuple[object, ...]] = []
        self._size = 2_048

    def add(self, *cells: object) -> None:
        self._rows.append(cells)
        if len(self._rows) >= self._size:
            self._close()

    def table(self) -> pa.Table:
        self._close()
        return pa.Table.from_batches(self._blocks, schema=self._schema)

    def _close(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [pa.array(cells, field.type) for cells, field in zip(columns, self._schema, strict=True)]
            self._blocks.append(pa.record_batch(arrays, schema=self._schema))
            self._rows.clear()


def positions(found: pa.ChunkedArray) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """A column of whole numbers without nulls as numpy."""
    return np.asarray(found, np.int64)
