"""What counts as the same: copies of a picture by the hash of what was encoded, near-duplicates by their cluster."""

import hashlib
import threading
import time
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import NamedTuple

from embeddings_dagster.index import Generation
from embeddings_dagster.search.ranking import Marks, Row
from embeddings_dagster.store import Store

LOOK_SECONDS = 30.0  # between two readings of the clusters

Clusters = Mapping[str, str]  # image id -> the cluster of near-duplicates that it belongs to
LoadClusters = Callable[[Store], Clusters | None]


class Known(NamedTuple):
    """Clusters, and a short text that differs when they do."""

    clusters: Clusters
    digest: str


class OpenedClusters:
    """The near-duplicates of a store, read when they are first asked for, and again now and then. Safe to share among
    threads."""

    def __init__(self, store: Store, load: LoadClusters) -> None:
        self._store, self._load = store, load
        self._lock = threading.Lock()
        self._known: Known | None = None
        self._looked = 0.0

    def get(self) -> Known:
        """The clusters now. Raises what loading them does."""
        with self._lock:
            if self._known is None or time.monotonic() - self._looked >= LOOK_SECONDS:
                clusters = self._load(self._store) or {}
                lines = "\n".join(sorted(f"{len(image)} {image} {name}" for image, name in clusters.items()))
                digest = hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()[:8]
                self._known, self._looked = Known(clusters, digest if clusters else ""), time.monotonic()
            return self._known

    def refresh(self) -> None:
        """Read them again at the next search."""
        with self._lock:
            self._known = None


def marks_of(*, group: bool, fold: bool, clusters: Clusters) -> Marks:
    """What a row shares with those that are one hit with it: its image, where they are grouped (else itself), and where
    they are folded, what it was encoded from, and its region in its cluster of near-duplicates."""

    def marks(row: Row) -> Sequence[Hashable]:
        image_id, region = row.key
        found: list[Hashable] = [image_id if group else row.key]
        if fold and row.input_hash:
            found.append(("copy", row.input_hash))
        if fold and (cluster := clusters.get(image_id)):
            found.append(("cluster", cluster, 0 if group else region))
        return found

    return marks


def hashes_of(generation: Generation, images: Collection[str]) -> set[str]:
    """What all regions of some images were encoded from."""
    return {
        segment.rows.column("input_hash")[label].as_py()
        for segment in generation.segments
        for image_id in images
        for label in segment.labels(image_id).values()
    }
