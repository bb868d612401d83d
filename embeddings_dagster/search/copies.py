"""What counts as the same: copies of a picture by the hash of what was encoded, near-duplicates by their cluster."""

from collections.abc import Collection, Hashable, Mapping, Sequence

import numpy as np
import pyarrow.compute as pc

from embeddings_dagster.index import Generation
from embeddings_dagster.search.ranking import Marks, Row
from embeddings_dagster.store import Store

Clusters = Mapping[str, str]  # image id -> the cluster of near-duplicates that it belongs to


def load_clusters(store: Store) -> Clusters:
    """The clusters of near-duplicates of a store, as the asset `near_duplicates` last found them; here none yet."""
    return {}


def marks_of(*, group: bool, fold: bool, clusters: Clusters) -> Marks:
    """What a row shares with those that are one hit with it: its image, where they are grouped, and where they are
    folded, what it was encoded from, and its region in its cluster of near-duplicates."""

    def marks(row: Row) -> Sequence[Hashable]:
        image_id, region = row.key
        found: list[Hashable] = [row.key]
        if group:
            found.append(image_id)
        if fold and row.input_hash:
            found.append(("copy", row.input_hash))
        if fold and (cluster := clusters.get(image_id)):
            found.append(("cluster", cluster, 0 if group else region))
        return found

    return marks


def hashes_of(generation: Generation, images: Collection[str]) -> set[str]:
    """What all regions of some images were encoded from."""
    found: set[str] = set()
    for segment in generation.segments:
        for image_id in images:
            mask = pc.equal(segment.rows.column("image_id"), image_id).to_numpy() & segment.live
            for label in np.flatnonzero(mask):
                found.add(segment.rows.column("input_hash")[int(label)].as_py())
    return found
