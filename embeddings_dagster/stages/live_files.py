"""The files that make up an asset at this moment, for tools that read them without this project.

Globbing a store that is being written would see dead rows and parts that no version names; this list does not.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from embeddings_dagster.catalog import Catalogue
from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.errors import UnknownItem
from embeddings_dagster.index import Generations
from embeddings_dagster.stages.analyses import analyses
from embeddings_dagster.stages.analysis_files import Analysis
from embeddings_dagster.stages.catalog import ASSET
from embeddings_dagster.stages.duplicates import ASSET as DUPLICATES
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.embedding_map import ASSET as MAP
from embeddings_dagster.store import Store
from embeddings_dagster.store.local_file import local_file

BATCH_ASSETS = ("raw_images", "rgb_images")


@dataclass(frozen=True)
class LiveFile:
    """One file, by path or URL. `rows` counts all its rows, `dead` numbers those to leave out (from 0)."""

    path: str
    batch: str | None
    version: int
    rows: int
    dead: tuple[int, ...]
    sha256: str


def live_files(store: Store, identities: Mapping[str, ModelIdentity], asset: str) -> Iterator[LiveFile]:
    """The files of an asset's newest complete versions.

    Raises:
        UnknownItem: no such asset; the message lists those there are.
    """
    places = {name: name for name in BATCH_ASSETS}
    places |= {f"{model}_embeddings": dataset(model, identity) for model, identity in identities.items()}
    indexes = {f"{model}_index": (model, identity.fp12) for model, identity in identities.items()}
    if asset in places:
        yield from _parts(store, places[asset])
    elif asset in indexes:
        yield from _segments(Generations(store, *indexes[asset]))
    elif asset == ASSET:
        yield from _catalogue(Catalogue(store))
    elif asset in (DUPLICATES, MAP):
        for analysis in analyses(store):
            if analysis.name.partition("/")[0] == asset:
                yield from _analysis(analysis)
    else:
        there = ", ".join([*places, *indexes, ASSET, DUPLICATES, MAP])
        raise UnknownItem(f"no asset {asset!r} with files; there are {there}")


def _parts(store: Store, place: str) -> Iterator[LiveFile]:
    for batch in store.batches(place):
        chain = store.chain(place, batch)
        manifest = chain.latest()
        for part in manifest.parts if manifest else ():
            path = store.files.url(chain.path(part.file))
            yield LiveFile(path, batch, manifest.version if manifest else 0, part.rows, part.dead, part.sha256)


def _catalogue(catalogue: Catalogue) -> Iterator[LiveFile]:
    manifest = catalogue.latest()
    if manifest is not None:
        path = catalogue.store.files.url(catalogue.path(manifest.file))
        yield LiveFile(path, None, manifest.version, manifest.rows, (), manifest.sha256)


def _analysis(analysis: Analysis) -> Iterator[LiveFile]:
    manifest = analysis.latest()
    for entry in manifest.files.values() if manifest else ():
        path = analysis.store.files.url(analysis.path(entry.file))
        yield LiveFile(path, None, manifest.version if manifest else 0, entry.rows, (), entry.sha256)


def _segments(generations: Generations) -> Iterator[LiveFile]:
    manifest = generations.latest()
    for segment in manifest.segments if manifest else ():
        dead: tuple[int, ...] = ()
        if segment.deletions:
            file = local_file(generations.store, generations.path(segment.deletions.file), segment.deletions.sha256)
            dead = tuple(np.load(file, allow_pickle=False).tolist())
        for name, entry in segment.files.items():
            path = generations.store.files.url(generations.path(segment.path(name)))
            yield LiveFile(path, None, manifest.version if manifest else 0, segment.rows, dead, entry.sha256)
