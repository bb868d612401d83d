"""Where the pictures of some hits lie, as people can use it.

The catalogue's records say so at once; for those that it lacks, their rows of `raw_images` are read, batch by batch.
"""

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress

from embeddings_dagster import ids
from embeddings_dagster.errors import CorruptFile
from embeddings_dagster.ids import Key
from embeddings_dagster.settings import Settings
from embeddings_dagster.sources import Source, open_source
from embeddings_dagster.sources.addresses import without_secrets
from embeddings_dagster.store import Store

DATASET = "raw_images"


class Locations:
    """The places of the pictures of a store. Safe to share among threads."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._sources: dict[str, Source] = {}

    def shown(self, source: str, location: str) -> str:
        """An absolute path or a URL; relative to where the source was, where the settings no longer have it."""
        if source in self._settings.sources and source not in self._sources:
            self._sources[source] = open_source(source, self._settings)
        return _shown(self._sources.get(source), location)

    def read(self, images: Mapping[str, str]) -> dict[str, str]:
        """The location of each image by its id, from `raw_images`; `images`: the batch of each.

        Left out is what has gone since the index was made, or is damaged: `embeddings verify` says so, and the hits are
        right all the same.
        """
        wanted: dict[str, set[Key]] = defaultdict(set)
        for image_id, batch in images.items():
            wanted[batch].add(Key(image_id, 0))
        found = {}
        for batch, keys in wanted.items():
            chain = self._store.chain(DATASET, batch)
            manifest = chain.latest()
            with suppress(CorruptFile):
                for rows in chain.scan(manifest, ("image_id", "location"), keys) if manifest else ():
                    for image_id, location in zip(*(column.to_pylist() for column in rows.columns), strict=True):
                        found[image_id] = self.shown(ids.source_of(batch), location)
        return found


def _shown(source: Source | None, location: str) -> str:
    """A location as people can use it; what is not UTF-8 stays escaped, to be printable."""
    if source is None or "://" in location:
        return without_secrets(location)
    path = source.locate(location)
    try:
        path.encode()
    except UnicodeEncodeError:
        return ids.escape_local_id(path)
    return path
