"""One segment, opened read-only: its vectors memory-mapped, its rows in memory, its dead rows left out of every answer.

An opened segment is never changed, so any number of threads may search it.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embeddings_dagster.errors import CorruptFile, FormatTooNew
from embeddings_dagster.index.library import library
from embeddings_dagster.index.manifest import FLAT, HNSW, SegmentEntry
from embeddings_dagster.index.scores import Labels, Vector
from embeddings_dagster.index.searchers import FlatSearcher, GraphSearcher, Searcher
from embeddings_dagster.index.segment_writer import INDEX, ROWS, VECTORS
from embeddings_dagster.index.selection import Mask
from embeddings_dagster.store import Store
from embeddings_dagster.store.local_file import local_file
from embeddings_dagster.store.parts import Part

READ_COLUMNS = ("image_id", "region", "batch", "input_hash")
AT_ONCE = 65_536  # ids turned into Python objects at one time


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
    live = np.ones(entry.rows, dtype=bool)
    live[read_deletions(store, folder, entry)] = False
    return table, live


class Segment:
    """A segment as one generation sees it."""

    def __init__(self, entry: SegmentEntry, searcher: Searcher, vectors: Vector, rows: pa.Table, live: Mask) -> None:
        """`rows`: `READ_COLUMNS` of all rows in the order of their labels; `live`: which of them are not dead."""
        self.entry = entry
        self.rows = rows
        self.live = live
        self._searcher, self._vectors = searcher, vectors
        self._columns = tuple(rows.column(name).combine_chunks() for name in READ_COLUMNS)

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
            for name in (INDEX, VECTORS)
        }
        index = library().read_index(str(paths[INDEX]), library().IO_FLAG_MMAP_IFC)
        vectors = np.load(paths[VECTORS], mmap_mode="r", allow_pickle=False).view(np.ndarray)
        rows, live = read_rows(store, folder, entry, READ_COLUMNS)
        shape = (entry.rows, dimension)
        if (index.ntotal, index.d) != shape or vectors.shape != shape or len(rows) != entry.rows:
            raise CorruptFile(f"{store.files.url(folder)}/{entry.path('')} does not have the shape its generation says")
        if entry.recall is None:
            return cls(entry, FlatSearcher(index, vectors), vectors, rows, live)
        return cls(entry, GraphSearcher(index, vectors, entry.recall.ef), vectors, rows, live)

    @cached_property
    def regions(self) -> npt.NDArray[np.int16]:
        """The region of each row, dead ones included."""
        found: npt.NDArray[np.int16] = self.rows.column("region").to_numpy()
        return found

    def search(self, query: Vector, k: int, allowed: Mask) -> tuple[Labels, Vector]:
        """The `k` best rows that are live and allowed: labels and inner products, best first; fewer where there are
        fewer, and more where others score as much as the last. `query` is float32 (D,), `allowed` has a value for each
        row.
        """
        return self._searcher.search(query, k, self.live & allowed)

    def hit(self, label: int, score: float) -> Hit:
        """A row as it is answered."""
        image_id, region, batch, input_hash = (column[label].as_py() for column in self._columns)
        return Hit(image_id, region, score, batch, input_hash)

    def labels(self, image_id: str) -> dict[int, int]:
        """The live rows of an image: label by region."""
        hashes, labels = self._by_hash
        wanted, ids = hash(image_id), self._columns[0]
        alike = labels[hashes.searchsorted(wanted) : hashes.searchsorted(wanted, side="right")].tolist()
        return {int(self.regions[label]): label for label in alike if ids[label].as_py() == image_id}

    @cached_property
    def _by_hash(self) -> tuple[npt.NDArray[np.int64], Labels]:
        """The hashes of the ids of live rows, ascending, and their labels: 16 bytes a row, made when first needed."""
        labels = np.flatnonzero(self.live)
        ids = (self._columns[0].slice(start, AT_ONCE).to_pylist() for start in range(0, len(self.live), AT_ONCE))
        hashes = np.fromiter(map(hash, chain.from_iterable(ids)), np.int64, len(self.live))[labels]
        order = np.argsort(hashes, kind="stable")
        return hashes[order], labels[order]

    def vector(self, label: int) -> Vector:
        """A copy of a row's vector, float32 (D,)."""
        return np.array(self._vectors[label])

    def vectors(self, labels: Labels | slice) -> Vector:
        """The vectors of some rows, float32 (n, D); of a slice, a view of the file that must not be written to."""
        found: Vector = self._vectors[labels]
        return found

    def image_ids(self) -> pa.ChunkedArray:
        """The ids of live whole images."""
        return self.rows.column("image_id").filter(pa.array(self.live & (self.regions == 0)))
