"""One segment, opened read-only: its vectors memory-mapped, its rows in memory, its dead rows left out of every answer.

An opened segment is never changed, so any number of threads may search it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embeddings_dagster.errors import CorruptFile, FormatTooNew
from embeddings_dagster.index.library import library, one_thread
from embeddings_dagster.index.manifest import FLAT, SegmentEntry
from embeddings_dagster.index.segment_writer import INDEX, ROWS, VECTORS
from embeddings_dagster.store import Store
from embeddings_dagster.store.local_file import local_file
from embeddings_dagster.store.parts import Part

READ_COLUMNS = ("image_id", "region", "batch")

Vector = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int64]


class Hit(NamedTuple):
    """A row that was found; `score` is its inner product with the query."""

    image_id: str
    region: int
    score: float
    batch: str


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

    def __init__(self, index: Any, vectors: Vector, rows: pa.Table, live: Mask) -> None:
        self._index, self._vectors, self._rows, self._live = index, vectors, rows, live
        self._any_region = _parameters(live)
        self._whole_images = _parameters(live & (rows.column("region").to_numpy() == 0))

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
        return cls(index, vectors, rows, live)

    def search(self, query: Vector, k: int, *, regions: bool) -> list[Hit]:
        """The `k` best live rows by inner product, best first; `query` is float32 (D,).

        `regions` searches every region, else whole images (region 0) only.
        """
        parameters, possible = self._any_region if regions else self._whole_images
        k = min(k, possible)
        if k == 0:
            return []
        with one_thread():
            scores, labels = self._index.search(query[np.newaxis], k, params=parameters)
        return [self._hit(int(label), float(score)) for label, score in zip(labels[0], scores[0], strict=True)]

    def _hit(self, label: int, score: float) -> Hit:
        image_id, region, batch = (self._rows.column(name)[label].as_py() for name in READ_COLUMNS)
        return Hit(image_id, region, score, batch)

    def labels(self, image_id: str) -> dict[int, int]:
        """The live rows of an image: label by region."""
        found = np.flatnonzero(pc.equal(self._rows.column("image_id"), image_id).to_numpy() & self._live)
        return {self._rows.column("region")[int(label)].as_py(): int(label) for label in found}

    def vector(self, label: int) -> Vector:
        """A copy of a row's vector, float32 (D,)."""
        return np.array(self._vectors[label])

    def image_ids(self) -> pa.ChunkedArray:
        """The ids of live whole images."""
        whole = self._live & (self._rows.column("region").to_numpy() == 0)
        return self._rows.column("image_id").filter(pa.array(whole))


def _parameters(allowed: Mask) -> tuple[Any, int]:
    """What restricts a faiss search to the allowed labels (None where all are), and how many those are."""
    count = int(np.count_nonzero(allowed))
    if count == len(allowed):
        return None, count
    selector = library().IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
    return library().SearchParameters(sel=selector), count
