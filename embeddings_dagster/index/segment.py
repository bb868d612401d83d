"""One segment, opened read-only: its vectors memory-mapped, its rows in memory, its dead rows left out of every answer.

An opened segment is never changed, so any number of threads may search it.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embeddings_dagster.errors import CorruptFile, FormatTooNew
from embeddings_dagster.index.library import library, one_thread
from embeddings_dagster.index.manifest import FLAT, SegmentEntry
from embeddings_dagster.index.segment_writer import INDEX, ROWS, VECTORS
from embeddings_dagster.index.selection import Mask
from embeddings_dagster.store import Store
from embeddings_dagster.store.local_file import local_file
from embeddings_dagster.store.parts import Part

READ_COLUMNS = ("image_id", "region", "batch", "input_hash")

Vector = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


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

    def __init__(self, entry: SegmentEntry, index: Any, vectors: Vector, rows: pa.Table, live: Mask) -> None:
        """`rows`: `READ_COLUMNS` of all rows in the order of their labels; `live`: which of them are not dead."""
        self.entry = entry
        self.rows = rows
        self.live = live
        self._index, self._vectors = index, vectors

    @classmethod
    def open(cls, store: Store, folder: str, entry: SegmentEntry, dimension: int) -> "Segment":
        """Raises:
        CorruptFile, MissingFile: a file is not what was committed; the message names it.
        FormatTooNew: a newer release wrote it.
        """
        if entry.kind != FLAT:
            raise FormatTooNew(f"{folder} has a segment of kind {entry.kind!r}; upgrade embeddings-dagster to read it")
        paths = {
            name: local_file(store, f"{folder}/{entry.path(name)}", entry.files[name].sha256)
            for name in (INDEX, VECTORS)
        }
        index = library().read_index(str(paths[INDEX]), library().IO_FLAG_MMAP_IFC)
        vectors = np.load(paths[VECTORS], mmap_mode="r", allow_pickle=False)
        rows, live = read_rows(store, folder, entry, READ_COLUMNS)
        shape = (entry.rows, dimension)
        if (index.ntotal, index.d) != shape or vectors.shape != shape or len(rows) != entry.rows:
            raise CorruptFile(f"{store.files.url(folder)}/{entry.path('')} does not have the shape its generation says")
        return cls(entry, index, vectors, rows, live)

    @cached_property
    def regions(self) -> npt.NDArray[np.int16]:
        """The region of each row, dead ones included."""
        found: npt.NDArray[np.int16] = self.rows.column("region").to_numpy()
        return found

    def search(self, query: Vector, k: int, allowed: Mask) -> tuple[Labels, Vector]:
        """The `k` best rows that are live and allowed: labels and inner products, best first; fewer where there are
        fewer. `query` is float32 (D,), `allowed` has a value for each row.
        """
        parameters, possible = _parameters(self.live & allowed)
        k = min(k, possible)
        if k == 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        with one_thread():
            scores, labels = self._index.search(query[np.newaxis], k, params=parameters)
        return labels[0], scores[0]

    def hit(self, label: int, score: float) -> Hit:
        """A row as it is answered."""
        image_id, region, batch, input_hash = (self.rows.column(name)[label].as_py() for name in READ_COLUMNS)
        return Hit(image_id, region, score, batch, input_hash)

    def labels(self, image_id: str) -> dict[int, int]:
        """The live rows of an image: label by region."""
        found = np.flatnonzero(pc.equal(self.rows.column("image_id"), image_id).to_numpy() & self.live)
        return {int(self.regions[label]): int(label) for label in found}

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


def _parameters(allowed: Mask) -> tuple[Any, int]:
    """What restricts a faiss search to the allowed labels (None where all are), and how many those are."""
    count = int(np.count_nonzero(allowed))
    if count == len(allowed):
        return None, count
    selector = library().IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
    return library().SearchParameters(sel=selector), count
