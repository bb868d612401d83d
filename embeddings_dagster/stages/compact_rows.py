"""The live rows of some segments, in the order in which a merged one is to hold them: batch by batch, as refreshes
write them, so that those of a batch lie side by side.

Ids and hashes are in memory; vectors are copied from the files a block at a time, and never are all of them.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embeddings_dagster.errors import CorruptFile
from embeddings_dagster.ids import Key
from embeddings_dagster.index import Block, Generations, SegmentEntry, read_rows
from embeddings_dagster.index.segment_writer import VECTORS
from embeddings_dagster.store.local_file import local_file
from embeddings_dagster.store.parts import keys_of

COLUMNS = ("image_id", "region", "input_hash")
BLOCK_ROWS = 8_192  # of 512 components: 16 MB

Vectors = npt.NDArray[np.float32]


class Copied(NamedTuple):
    """A block of rows, and where each was: the UUIDs of its segments and its labels there."""

    block: Block
    segments: list[str]
    labels: list[int]

    def keys(self) -> list[Key]:
        return keys_of(self.block.rows)


class LiveRows:
    """The live rows of segments of one generation."""

    def __init__(
        self, segments: Sequence[SegmentEntry], tables: Sequence[pa.Table], vectors: Sequence[Vectors]
    ) -> None:
        """`tables`: the live rows of each segment with their `batch` and `label`; `vectors`: of all its rows."""
        self._segments, self._vectors = segments, vectors
        origins = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
        together = pa.concat_tables(tables)
        order, self._batches = _by_batch(together.column("batch"))
        self._origins = origins[order]
        self._labels = together.column("label").to_numpy()[order]
        self._rows = together.select(COLUMNS).take(pa.array(order))

    @classmethod
    def open(cls, generations: Generations, segments: Sequence[SegmentEntry], dimension: int) -> "LiveRows":
        """Raises:
        CorruptFile, MissingFile: a file of a segment is not what was committed; the message names it.
        """
        tables = [_live(generations, entry) for entry in segments]
        return cls(segments, tables, [_vectors(generations, entry, dimension) for entry in segments])

    def __len__(self) -> int:
        return len(self._rows)

    def blocks(self, start: int, stop: int) -> Iterator[Copied]:
        """The rows from `start` to before `stop`, in order, as blocks of one batch each."""
        for batch, first, end in self._batches:
            for at in range(max(first, start), min(end, stop), BLOCK_ROWS):
                yield self._copied(batch, slice(at, min(at + BLOCK_ROWS, end, stop)))

    def _copied(self, batch: str, rows: slice) -> Copied:
        origins, labels = self._origins[rows], self._labels[rows]
        vectors = np.empty((len(labels), self._vectors[0].shape[1]), np.float32)
        for number in np.unique(origins):
            vectors[origins == number] = self._vectors[number][labels[origins == number]]
        (block,) = self._rows.slice(rows.start, len(labels)).combine_chunks().to_batches()
        return Copied(Block(block, batch, vectors), [self._segments[each].uuid for each in origins], labels.tolist())


def _by_batch(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], list[tuple[str, int, int]]]:
    """The order of rows that brings those of a batch together, and each batch with where its rows begin and end."""
    if not len(column):
        return np.empty(0, np.int64), []
    encoded = column.combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    ordered = sorted(names)
    place = {name: number for number, name in enumerate(ordered)}
    ranks = np.array([place[name] for name in names])[encoded.indices.to_numpy()]
    ends = np.cumsum(np.bincount(ranks)).tolist()
    return np.argsort(ranks, kind="stable"), list(zip(ordered, [0, *ends[:-1]], ends, strict=True))


def _live(generations: Generations, entry: SegmentEntry) -> pa.Table:
    table, live = read_rows(generations.store, generations.folder, entry, (*COLUMNS, "batch", "label"))
    return table.filter(pa.array(live))


def _vectors(generations: Generations, entry: SegmentEntry, dimension: int) -> Vectors:
    """A view of the file."""
    path = f"{generations.folder}/{entry.path(VECTORS)}"
    found: Vectors = np.load(
        local_file(generations.store, path, entry.files[VECTORS].sha256), mmap_mode="r", allow_pickle=False
    )
    if found.shape != (entry.rows, dimension):
        raise CorruptFile(
            f"{generations.store.files.url(path)} holds vectors of shape {found.shape}, and its generation says "
            f"{(entry.rows, dimension)}; `embeddings verify` says what heals it"
        )
    return found
