"""One generation, opened: search over all its segments, until whoever holds it lets it go.

Scores are exact inner products. Flat segments are searched exactly, graphs with the recall that they were tuned to,
whatever is selected. Opening resolves and checks every file once. What is committed afterwards does not exist for it,
and answers never hold a deleted row. Safe to share among threads.
"""

import difflib
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embeddings_dagster import ids
from embeddings_dagster.errors import BadQuery
from embeddings_dagster.ids import ALL, WHOLE, Key, Regions
from embeddings_dagster.index.generations import Generations
from embeddings_dagster.index.manifest import GenerationManifest
from embeddings_dagster.index.scores import Labels, Vector
from embeddings_dagster.index.segment import Hit, Segment
from embeddings_dagster.index.selection import Mask, Selection

CLOSE_MATCH_POOL = 20_000  # ids compared letter by letter for a suggestion: about a tenth of a second


class Generation:
    """A searchable state of an index."""

    def __init__(self, manifest: GenerationManifest, segments: Sequence[Segment]) -> None:
        self.manifest = manifest
        self.segments = tuple(segments)

    @classmethod
    def open(cls, generations: Generations, manifest: GenerationManifest) -> "Generation":
        """Open every segment that has a live row.

        Raises:
            CorruptFile, MissingFile: a file is not what was committed; the message names it.
        """
        store, folder = generations.store, generations.folder
        live = [entry for entry in manifest.segments if entry.live]
        return cls(manifest, [Segment.open(store, folder, entry, manifest.dimension) for entry in live])

    def selection(
        self, *, regions: Regions = WHOLE, sources: Collection[str] = (), batches: Collection[str] = ()
    ) -> Selection:
        """The rows of a kind of region, and of any of some sources and batches where those are given."""
        if regions == WHOLE and not sources and not batches:
            return self._whole
        return Selection(tuple(_mask(segment, regions, sources, batches) for segment in self.segments))

    @cached_property
    def _whole(self) -> Selection:
        masks = tuple(segment.regions == 0 for segment in self.segments)
        for mask in masks:
            mask.flags.writeable = False  # it is handed out to everybody
        return Selection(masks)

    def search(
        self, query: Vector, k: int, selection: Selection | None = None, *, without: Collection[str] = ()
    ) -> list[Hit]:
        """The `k` rows with the largest inner product (float32), best first, equal ones by key.

        `query` is float32 (D,). Among the rows of `selection` (default: whole images), less all those of the images
        `without`.

        Raises:
            BadQuery: the query has another dimension, or is not finite.
        """
        if query.shape != (self.manifest.dimension,):
            raise BadQuery(f"a vector of shape {query.shape} was given; this index has ({self.manifest.dimension},)")
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
            query = np.ascontiguousarray(query, dtype=np.float32)
        if not np.isfinite(query).all():
            raise BadQuery("the vector to search for holds NaN or infinity")
        allowed = self._less(selection or self.selection(), without)
        found = [segment.search(query, k, mask) for segment, mask in zip(self.segments, allowed.masks, strict=True)]
        least = _last_of(np.concatenate([[-np.inf], *(scores for _, scores in found)]), k)
        hits = [
            hit
            for segment, (labels, scores) in zip(self.segments, found, strict=True)
            for hit in segment.hits(*_foremost(segment, labels, scores, least, k))
        ]
        return sorted(hits, key=lambda hit: (-hit.score, hit.image_id, hit.region))[:k]

    def _less(self, selection: Selection, images: Collection[str]) -> Selection:
        if not images:
            return selection
        masks = tuple(mask.copy() for mask in selection.masks)
        for segment, mask in zip(self.segments, masks, strict=True):
            for image_id in images:
                mask[list(segment.labels(image_id).values())] = False
        return Selection(masks)

    def vectors(self, keys: Sequence[Key]) -> tuple[Vector, Mask]:
        """The stored vectors of some rows, float32 (n, D), and which of the rows there are; zeros for the others."""
        found = np.zeros((len(keys), self.manifest.dimension), np.float32)
        there = np.zeros(len(keys), bool)
        for segment in self.segments:
            labels = segment.find(keys)
            inside = labels >= 0
            found[inside], there[inside] = segment.vectors(labels[inside]), True
        return found, there

    def vector(self, image_id: str, region: int = 0) -> Vector | None:
        """The stored vector of a row, float32 (D,), or None where the index has no such row."""
        for segment in self.segments:
            label = segment.labels(image_id).get(region)
            if label is not None:
                return segment.vector(label)
        return None

    def image_ids(self) -> Iterator[str]:
        """The ids of all images in it."""
        return (each for segment in self.segments for each in segment.image_ids().to_pylist())

    def close_ids(self, text: str, count: int = 3) -> list[str]:
        """Ids that look like `text`: those that contain it, then those that are spelt alike."""
        found = [each for segment in self.segments for each in _containing(segment, text, count)][:count]
        pool = islice(self.image_ids(), CLOSE_MATCH_POOL)
        alike = difflib.get_close_matches(text, pool, n=count) if len(found) < count else []
        return list(dict.fromkeys([*found, *alike]))[:count]


def _foremost(segment: Segment, labels: Labels, scores: Vector, least: float, k: int) -> tuple[Labels, Vector]:
    """What was found in a segment, best first, that is better than `least`, and of all that is as good the `k` first by
    key: thousands of pictures may be the same."""
    ahead, end = (int(np.count_nonzero(which)) for which in (scores > least, scores >= least))
    chosen = np.concatenate([labels[:ahead], segment.foremost(labels[ahead:end], k)])
    return chosen, scores[: len(chosen)]  # from `ahead` on all are the same


def _last_of(scores: Vector, k: int) -> float:
    """The `k`-th best of some scores, or the least."""
    return float(np.partition(scores, -k)[-k] if k < len(scores) else scores.min())


def _mask(segment: Segment, regions: Regions, sources: Collection[str], batches: Collection[str]) -> Mask:
    mask = np.ones(len(segment), bool)
    if regions != ALL:
        mask &= segment.regions == 0 if regions == WHOLE else segment.regions > 0
    if sources or batches:
        there = pc.unique(segment.batches).to_pylist()
        wanted = [
            batch
            for batch in there
            if (not batches or batch in batches) and (not sources or ids.source_of(batch) in sources)
        ]
        mask &= pc.is_in(segment.batches, pa.array(wanted, pa.string())).to_numpy(zero_copy_only=False)
    return mask


def _containing(segment: Segment, text: str, count: int) -> list[str]:
    ids = segment.image_ids()
    matching = ids.filter(pc.match_substring(ids, text, ignore_case=True))
    return [str(each) for each in matching[:count]]
