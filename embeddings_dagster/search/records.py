"""The catalogue of records that searches read: opened once, kept until a newer one lands, and joined with indexes.

A search holds the one it began with to its end; when nobody holds one any more, it is closed.
"""

import threading
import time
import weakref
from collections import OrderedDict

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embeddings_dagster.catalog import Catalogue, Filter, Snapshot
from embeddings_dagster.errors import IndexUnavailable, StoreError
from embeddings_dagster.index import Segment
from embeddings_dagster.store import Store

LOOK_SECONDS = 1.0
KEPT_JOINS = 256  # segments whose rows are remembered by their numbers in the catalogue: four bytes a row
REGIONS = 2**16  # an image has fewer

Mask = npt.NDArray[np.bool_]


class Records:
    """One generation of the catalogue, and where an index's rows are in it. Safe to share among threads."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._joining = threading.Lock()
        self._joins: OrderedDict[str, npt.NDArray[np.int32]] = OrderedDict()
        self._rows: _Rows | None = None
        weakref.finalize(self, snapshot.close)

    @property
    def number(self) -> int:
        return self.snapshot.manifest.version

    def masks(self, segments: tuple[Segment, ...], wanted: Filter) -> tuple[Mask, ...]:
        """Which rows of each segment fulfil a filter; those that the catalogue has not do not. Raises BadQuery."""
        numbers = self.snapshot.numbers(wanted)
        places = [self._places(segment) for segment in segments]
        # The last is for rows that the catalogue has not: their place is -1.
        fulfil = np.zeros(self._numbered().largest + 2, bool)
        fulfil[numbers] = True
        return tuple(fulfil[each] for each in places)

    def _places(self, segment: Segment) -> npt.NDArray[np.int32]:
        """The number of each row of a segment in the catalogue, -1 where it has none."""
        with self._joining:
            known = self._joins.get(segment.entry.uuid)
            if known is None:
                known = self._joins[segment.entry.uuid] = self._numbered().places(segment)
            self._joins.move_to_end(segment.entry.uuid)
            while len(self._joins) > KEPT_JOINS:
                self._joins.popitem(last=False)
            return known

    def _numbered(self) -> "_Rows":
        if self._rows is None:
            self._rows = _Rows(self.snapshot.numbered)
        return self._rows


class _Rows:
    """The rows of a catalogue in an order in which they can be looked up."""

    def __init__(self, table: pa.Table) -> None:
        images = table.column("image_id").combine_chunks().dictionary_encode()
        if isinstance(images, pa.ChunkedArray):
            images = images.combine_chunks()
        keys = _keys(images.indices, table.column("region").to_numpy())
        order = np.argsort(keys, kind="stable")
        self._images = images.dictionary
        self._keys = keys[order]
        self._numbers = table.column("number").to_numpy()[order].astype(np.int32)
        self.largest = int(self._numbers.max(initial=-1))

    def places(self, segment: Segment) -> npt.NDArray[np.int32]:
        """The number of each row of a segment, -1 where there is none."""
        if not len(self._keys):
            return np.full(len(segment.rows), -1, np.int32)
        image_ids = segment.rows.column("image_id")
        keys = _keys(pc.fill_null(pc.index_in(image_ids, value_set=self._images), -1), segment.regions)
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        found: npt.NDArray[np.int32] = np.where(self._keys[at] == keys, self._numbers[at], np.int32(-1))
        return found


def _keys(images: pa.Array, regions: npt.NDArray[np.int16]) -> npt.NDArray[np.int64]:
    places: npt.NDArray[np.int64] = images.to_numpy(zero_copy_only=False).astype(np.int64)
    return places * REGIONS + regions.astype(np.int64)


class OpenedRecords:
    """The opened catalogue of a store. Safe to share among threads."""

    def __init__(self, store: Store) -> None:
        self._catalogue = Catalogue(store)
        self._lock = threading.Lock()
        self._known: Records | StoreError | IndexUnavailable | None = None
        self._looked = 0.0

    def get(self, number: int | None = None) -> Records:
        """The catalogue of that number, else the newest.

        Raises:
            IndexUnavailable: there is none yet, or only one of an older release.
            UnknownItem: there is none of that number any more.
            CorruptFile, MissingFile, FormatTooNew: it cannot be read.
        """
        newest = self._newest()
        if number is not None and not (isinstance(newest, Records) and newest.number == number):
            return Records(self._catalogue.open(self._catalogue.get(number)))
        if isinstance(newest, Records):
            return newest
        raise newest

    def refresh(self) -> None:
        """Look for a newer one at the next search."""
        self._looked = 0.0

    def _newest(self) -> Records | StoreError | IndexUnavailable:
        with self._lock:
            if self._known is None or time.monotonic() - self._looked >= LOOK_SECONDS or not self._looked:
                self._known = self._look()
                self._looked = time.monotonic()
            return self._known

    def _look(self) -> Records | StoreError | IndexUnavailable:
        known = self._known
        try:
            number = max(self._catalogue.numbers(), default=0)
            if isinstance(known, Records) and known.number == number:
                return known
            return Records(self._catalogue.open())
        except (StoreError, IndexUnavailable) as error:
            return known if isinstance(known, Records) else error
