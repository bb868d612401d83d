"""One segment, opened read-only: its vectors memory-mapped, its rows in memory, its dead rows left out of every answer.

An opened segment is never changed, so any number of threads may search it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embeddings_dagster.errors import CorruptFile, FormatTooNew
from embeddings_dagster.ids import Key
from embeddings_dagster.index.copies import Copies
from embeddings_dagster.index.library import library
from embeddings_dagster.index.manifest import FLAT, HNSW, SegmentEntry
from embeddings_dagster.index.rows import SegmentRows
from embeddings_dagster.index.scores import Labels, Vector, true_scores
from embeddings_dagster.index.searchers import FlatSearcher, GraphSearcher, Searcher
from embeddings_dagster.index.segment_writer import COPIES, INDEX, ROWS, VECTORS
from embeddings_dagster.index.selection import Mask
from embeddings_dagster.store import Store
from embeddings_dagster.store.local_file import local_file
from embeddings_dagster.store.parts import Part


class Hit(NamedTuple):
    """A row that was found; `score` is its inner product with the query."""

    image_id: str
    region: int
    score: float
    batch: str
    input_hash: str


def read_deletions(store: Store, folder: str, entry: SegmentEntry) -> Labels:
    """The dead rows of a segment: int64, ascending, perhaps none.

    Raises:
        CorruptFile, MissingFile: the file is not what was committed.
    """
    if entry.deletions is None:
        return np.empty(0, np.int64)
    with store.checked.open(f"{folder}/{entry.deletions.file}", entry.deletions.sha256) as handle:
        labels: Labels = np.load(handle, allow_pickle=False)
        return labels


def read_rows(store: Store, folder: str, entry: SegmentEntry, columns: Sequence[str]) -> tuple[pa.Table, Mask]:
    """The rows of a segment in the order of their labels, dead ones included, and which of them are live.

    Raises:
        CorruptFile, MissingFile: a file is not what was committed.
    """
    path = f"{folder}/{entry.path(ROWS)}"
    with store.checked.open(path, entry.files[ROWS].sha256) as handle:
        table = Part(handle, store.files.url(path)).read(columns).combine_chunks()
    return table, _live(store, folder, entry)


def _copies(rows: int, path: Path | None) -> Copies:
    if path is None:
        return Copies.none(rows)
    return Copies(rows, *np.load(path, allow_pickle=False).astype(np.int64))


def _live(store: Store, folder: str, entry: SegmentEntry) -> Mask:
    live = np.ones(entry.rows, dtype=bool)
    live[read_deletions(store, folder, entry)] = False
    return live


class Segment:
    """A segment as one generation sees it."""

    def __init__(self, entry: SegmentEntry, searcher: Searcher, vectors: Vector, rows: SegmentRows) -> None:
        self.entry = entry
        self.live = rows.live
        self._rows = rows
        self._searcher, self._vectors = searcher, vectors

    @classmethod
    def open(cls, store: Store, folder: str, entry: SegmentEntry, dimension: int) -> "Segment":
        """Raises:
        CorruptFile, MissingFile: a file is not what was committed; the message names it.
        FormatTooNew: a newer release wrote it.
        """
        if entry.kind not in (FLAT, HNSW):
            raise FormatTooNew(f"{folder} has a segment of kind {entry.kind!r}; upgrade embeddings-dagster to read it")
        paths = {
            name: local_file(store, f"{folder}/{entry.path(name)}", entry.files[name].sha256)
            for name in (INDEX, VECTORS, ROWS, COPIES)
            if name in entry.files or name != COPIES
        }
        index = library().read_index(str(paths[INDEX]), library().IO_FLAG_MMAP_IFC)
        vectors = np.load(paths[VECTORS], mmap_mode="r", allow_pickle=False).view(np.ndarray)
        part = Part(paths[ROWS].open("rb"), store.files.url(f"{folder}/{entry.path(ROWS)}"))
        rows = SegmentRows(part, _live(store, folder, entry))
        copies = _copies(entry.rows, paths.get(COPIES))
        shape = (entry.rows, dimension)
        if (index.ntotal, index.d) != (copies.count, dimension) or vectors.shape != shape or len(rows) != entry.rows:
            raise CorruptFile(f"{store.files.url(folder)}/{entry.path('')} does not have the shape its generation says")
        if entry.recall is None:
            return cls(entry, FlatSearcher(index, vectors, copies), vectors, rows)
        return cls(entry, GraphSearcher(index, vectors, entry.recall.ef, copies), vectors, rows)

    def __len__(self) -> int:
        return self.entry.rows

    @property
    def rows(self) -> pa.Table:
        """All rows in the order of their labels, dead ones included: image_id, region, batch, input_hash."""
        return self._rows.table

    @property
    def regions(self) -> npt.NDArray[np.int16]:
        """The region of each row, dead ones included."""
        return self._rows.region_numbers

    @property
    def batches(self) -> pa.Array:
        """The batch of each row, dead ones included."""
        return self._rows.batches

    def search(self, query: Vector, k: int, allowed: Mask) -> tuple[Labels, Vector]:
        """The `k` best rows that are live and allowed: labels and inner products, best first; fewer where there are
        fewer, and more where others score as much as the last. `query` is float32 (D,), `allowed` has a value for each
        row.
        """
        return self._searcher.search(query, k, self.live & allowed)

    def true_scores(self, queries: Vector, k: int, tick: Callable[[], None]) -> Vector:
        """The scores of the `k` best live rows for each of some queries, (queries, k); see `scores.true_scores`."""
        return true_scores(self._vectors, self.live, queries, k, tick)

    def foremost(self, labels: Labels, count: int) -> Labels:
        """Of some rows the `count` first by image id and region, in any order."""
        return self._rows.foremost(labels, count) if len(labels) > count else labels

    def hits(self, labels: Labels, scores: Vector) -> list[Hit]:
        """Rows as they are answered."""
        rows = self._rows
        columns = (rows.image_ids, rows.regions, rows.batches, rows.input_hashes)
        image_ids, regions, batches, hashes = (column.take(pa.array(labels)).to_pylist() for column in columns)
        return list(map(Hit, image_ids, regions, scores.tolist(), batches, hashes))

    def labels(self, image_id: str) -> dict[int, int]:
        """The live rows of an image: label by region."""
        return self._rows.labels(image_id)

    def find(self, keys: Sequence[Key]) -> Labels:
        """The label of each key, int64; -1 where there is no such live row."""
        return self._rows.find(keys)

    def vector(self, label: int) -> Vector:
        """A copy of a row's vector, float32 (D,)."""
        return np.array(self._vectors[label])

    def vectors(self, labels: Labels | slice) -> Vector:
        """The vectors of some rows, float32 (n, D); of a slice, a view of the file that must not be written to."""
        found: Vector = self._vectors[labels]
        return found

    def image_ids(self) -> pa.Array:
        """The ids of live whole images."""
        return self._rows.image_ids.filter(pa.array(self.live & (self.regions == 0)))
