"""Where the pictures of some hits lie: only their rows of `raw_images` are read, batch by batch."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from embeddings_dagster import ids
from embeddings_dagster.ids import Key
from embeddings_dagster.index import Hit
from embeddings_dagster.settings import Settings
from embeddings_dagster.store import Store

DATASET = "raw_images"


def find_locations(store: Store, settings: Settings, hits: Iterable[Hit]) -> dict[str, str]:
    """The location of each hit's picture by image id: an absolute path or a URL.

    Left out is what has gone since the index was made. The location of a source that the settings no longer have is
    relative to where that source was.
    """
    wanted: dict[str, set[Key]] = defaultdict(set)
    for hit in hits:
        wanted[hit.batch].add(Key(hit.image_id, 0))
    found = {}
    for batch, keys in wanted.items():
        chain = store.chain(DATASET, batch)
        manifest = chain.latest()
        for rows in chain.scan(manifest, ("image_id", "location"), keys) if manifest else ():
            for image_id, location in zip(*(column.to_pylist() for column in rows.columns), strict=True):
                found[image_id] = shown_location(settings, ids.source_of(batch), location)
    return found


def shown_location(settings: Settings, source: str, location: str) -> str:
    """A location of a source as people can use it; what is not UTF-8 stays escaped, to be printable."""
    if "://" in location or source not in settings.sources:
        return location
    root = settings.source_path(source)
    path = str(root / Path(ids.unescape_local_id(location)))
    try:
        path.encode()
    except UnicodeEncodeError:
        return str(root / location)
    return path
