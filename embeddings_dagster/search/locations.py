"""Where the pictures of some hits lie: only their rows of `raw_images` are read, batch by batch."""

from collections import defaultdict
from collections.abc import Iterable

from embeddings_dagster import ids
from embeddings_dagster.ids import Key
from embeddings_dagster.index import Hit
from embeddings_dagster.settings import Settings
from embeddings_dagster.sources import Source, open_source
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
        name = ids.source_of(batch)
        source = open_source(name, settings) if name in settings.sources else None
        chain = store.chain(DATASET, batch)
        manifest = chain.latest()
        for rows in chain.scan(manifest, ("image_id", "location"), keys) if manifest else ():
            for image_id, location in zip(*(column.to_pylist() for column in rows.columns), strict=True):
                found[image_id] = _shown(source, location)
    return found


def _shown(source: Source | None, location: str) -> str:
    """A location as people can use it; what is not UTF-8 stays escaped, to be printable."""
    if source is None or "://" in location:
        return location
    path = source.locate(location)
    try:
        path.encode()
    except UnicodeEncodeError:
        return ids.escape_local_id(path)
    return path
