"""One generation, opened: exact search over all its segments, until whoever holds it lets it go.

Opening resolves and checks every file once. What is committed afterwards does not exist for it, and answers never hold
a deleted row. Safe to share among threads.
"""

import difflib
import heapq
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pyarrow.compute as pc

from embeddings_dagster.errors import BadQuery
from embeddings_dagster.index.generations import Generations
from embeddings_dagster.index.manifest import GenerationManifest
from embeddings_dagster.index.segment import Hit, Segment, Vector

CLOSE_MATCH_POOL = 20_000  # ids compared letter by letter for a suggestion: about a tenth of a second


class Generation:
    """A searchable state of an index."""

    def __init__(self, manifest: GenerationManifest, segments: list[Segment]) -> None:
        self.manifest = manifest
        self._segments = segments

    @classmethod
    def open(cls, generations: Generations, manifest: GenerationManifest) -> "Generation":
        """Open every segment that has a live row.

        Raises:
            CorruptFile, MissingFile: a file is not what was committed; the message names it.
        """
        store, folder = generations.store, generations.folder
        live = [entry for entry in manifest.segments if entry.live]
        return cls(manifest, [Segment.open(store, folder, entry, manifest.dimension) for entry in live])

    def search(self, query: Vector, k: int, *, regions: bool = False, without: str | None = None) -> list[Hit]:
        """The `k` rows with the largest inner product, best first, equal ones by key; exact.

        `query` is float32 (D,). Whole images only, unless `regions`; `without` leaves out one image.

        Raises:
            BadQuery: the query has another dimension, or is not finite.
        """
        if query.shape != (self.manifest.dimension,):
            raise BadQuery(f"a vector of shape {query.shape} was given; this index has ({self.manifest.dimension},)")
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
            query = np.ascontiguousarray(query, dtype=np.float32)
        if not np.isfinite(query).all():
            raise BadQuery("the vector to search for holds NaN or infinity")
        spare = self._rows_of(without, regions=regions) if without is not None else 0
        hits = (hit for each in self._segments for hit in each.search(query, k + spare, regions=regions))
        return heapq.nsmallest(
            k,
            (hit for hit in hits if hit.image_id != without),
            key=lambda hit: (-hit.score, hit.image_id, hit.region),
        )

    def _rows_of(self, image_id: str, *, regions: bool) -> int:
        found = [region for each in self._segments for region in each.labels(image_id)]
        return len(found) if regions else found.count(0)

    def vector(self, image_id: str, region: int = 0) -> Vector | None:
        """The stored vector of a row, float32 (D,), or None where the index has no such row."""
        for segment in self._segments:
            label = segment.labels(image_id).get(region)
            if label is not None:
                return segment.vector(label)
        return None

    def image_ids(self) -> Iterator[str]:
        """The ids of all images in it."""
        return (str(each) for segment in self._segments for each in segment.image_ids())

    def close_ids(self, text: str, count: int = 3) -> list[str]:
        """Ids that look like `text`: those that contain it, then those that are spelt alike."""
        found = [each for segment in self._segments for each in _containing(segment, text, count)][:count]
        pool = islice(self.image_ids(), CLOSE_MATCH_POOL)
        alike = difflib.get_close_matches(text, pool, n=count) if len(found) < count else []
        return list(dict.fromkeys([*found, *alike]))[:count]


def _containing(segment: Segment, text: str, count: int) -> list[str]:
    ids = segment.image_ids()
    matching = ids.filter(pc.match_substring(ids, text, ignore_case=True))
    return [str(each) for each in matching[:count]]
