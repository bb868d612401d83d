"""The rows of an opened segment: what lies at which label, and at which label an image lies.

Opening reads what every search needs; input hashes, which only answers show and which take longest to read, are read
when first asked for, from the file as it was opened. Safe to share among threads.
"""

import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embeddings_dagster.ids import Key
from embeddings_dagster.index.scores import Labels
from embeddings_dagster.index.selection import Mask
from embeddings_dagster.store.parts import Part

FIRST = ("image_id", "region", "batch")
LATER = "input_hash"
AT_ONCE = 65_536  # ids turned into Python objects at one time


class SegmentRows:
    """Columns by label, dead rows included; look-ups find live rows only."""

    def __init__(self, part: Part, live: Mask) -> None:
        """`part` is the segment's `rows.parquet`, opened from a file of this machine. Raises CorruptFile."""
        table = part.read(FIRST)
        self.live = live
        self.image_ids, self.regions, self.batches = (table.column(name).combine_chunks() for name in FIRST)
        self._part, self._reading = part, threading.Lock()
        self._hashes: pa.Array | None = None

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def input_hashes(self) -> pa.Array:
        with self._reading:  # two threads in one handle would read each other's bytes
            if self._hashes is None:
                self._hashes = self._part.read([LATER]).column(LATER).combine_chunks()
            return self._hashes

    @property
    def table(self) -> pa.Table:
        """All columns."""
        columns = [self.image_ids, self.regions, self.batches, self.input_hashes]
        return pa.Table.from_arrays(columns, [*FIRST, LATER])

    @cached_property
    def region_numbers(self) -> npt.NDArray[np.int16]:
        found: npt.NDArray[np.int16] = self.regions.to_numpy()
        return found

    def labels(self, image_id: str) -> dict[int, int]:
        """The live rows of an image: label by region."""
        hashes, labels = self._by_hash
        wanted = hash(image_id)
        alike = labels[hashes.searchsorted(wanted) : hashes.searchsorted(wanted, side="right")].tolist()
        return {int(self.region_numbers[label]): label for label in alike if self.image_ids[label].as_py() == image_id}

    def find(self, keys: Sequence[Key]) -> Labels:
        """The label of each key, int64; -1 where there is no such live row."""
        hashes, labels = self._by_hash
        wanted = np.fromiter((hash(image_id) for image_id, _ in keys), np.int64, len(keys))
        starts = hashes.searchsorted(wanted)
        counts = hashes.searchsorted(wanted, side="right") - starts
        # Every row whose id has the hash of a key's, beside the place of that key.
        places = np.repeat(np.arange(len(keys)), counts)
        alike = labels[np.arange(len(places)) + np.repeat(starts - np.cumsum(counts) + counts, counts)]
        same = self.region_numbers[alike] == np.fromiter((region for _, region in keys), np.int64, len(keys))[places]
        places, alike = places[same], alike[same]
        found = np.full(len(keys), -1, np.int64)
        image_ids = self.image_ids.take(pa.array(alike)).to_pylist()
        for place, label, image_id in zip(places.tolist(), alike.tolist(), image_ids, strict=True):
            if keys[place][0] == image_id:
                found[place] = label
        return found

    def foremost(self, labels: Labels, count: int) -> Labels:
        """Of some rows the `count` first by image id and region, in any order."""
        keys = pa.table([column.take(labels) for column in (self.image_ids, self.regions)], ["image_id", "region"])
        order = [("image_id", "ascending"), ("region", "ascending")]
        found: Labels = labels[pc.select_k_unstable(keys, count, order).to_numpy()]
        return found

    @cached_property
    def _by_hash(self) -> tuple[npt.NDArray[np.int64], Labels]:
        """The hashes of the ids of live rows, ascending, and their labels: 16 bytes a row, made when first needed."""
        labels = np.flatnonzero(self.live)
        hashes = np.fromiter(map(hash, self._each_id()), np.int64, len(self))[labels]
        order = np.argsort(hashes, kind="stable")
        return hashes[order], labels[order]

    def _each_id(self) -> Iterator[str]:
        some = (self.image_ids.slice(start, AT_ONCE).to_pylist() for start in range(0, len(self), AT_ONCE))
        return chain.from_iterable(some)
