"""Which pictures int8 is calibrated on: drawn by lot, and yet the same ones whoever draws from the same batches."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from embeddings_dagster.encoders import Unit
from embeddings_dagster.errors import CorruptFile
from embeddings_dagster.ids import Key
from embeddings_dagster.stages.embed_pictures import COLUMNS, units
from embeddings_dagster.stages.vector_inputs import rgb_rows
from embeddings_dagster.store import Chain, Manifest, Store

UPSTREAM = "rgb_images"

Place = tuple[str, Key]  # a batch, and a picture in it


@dataclass(frozen=True)
class Sample:
    """Pictures, as regions of images in versions of `rgb_images`. `digest` is that of their input hashes."""

    parts: tuple[tuple[Chain, Manifest, frozenset[Key]], ...]
    digest: str

    def units(self) -> Iterator[Unit]:
        """The images that have any, each with those of its regions that are in the sample."""
        for chain, manifest, keys in self.parts:
            whole = {Key(key.image_id, 0) for key in keys}  # where the bytes are
            for unit in units(chain.scan(manifest, COLUMNS, keys=keys | whole)):
                wanted = tuple(region for region in unit.regions if Key(unit.image_id, region.region) in keys)
                yield replace(unit, regions=wanted)


def sample(store: Store, batch: str, most: int) -> Sample:
    """Up to `most` pictures of `batch`, and of other batches as far as it has fewer.

    Raises:
        CorruptFile: `rgb_images` of the batch is damaged; other batches that are damaged are passed over.
    """
    versions: dict[str, tuple[Chain, Manifest]] = {}
    there: dict[Place, str] = {}
    for each in (batch, *(other for other in store.batches(UPSTREAM) if other != batch)):
        if len(set(there.values())) >= most:
            break
        chain = store.chain(UPSTREAM, each)
        try:
            manifest = chain.latest()
            rows = rgb_rows(chain, manifest, "regions") if manifest is not None else []
        except CorruptFile:
            if each == batch:
                raise
            continue
        if manifest is not None:
            versions[each] = chain, manifest
            there |= {(each, row.key): row.input_hash for row in rows}
    drawn = draw(there, most)
    parts = [(*found, frozenset(key for batch, key in drawn if batch == each)) for each, found in versions.items()]
    digest = hashlib.sha256(json.dumps(sorted(drawn.values())).encode()).hexdigest()
    return Sample(tuple(part for part in parts if part[2]), digest)


def draw(there: dict[Place, str], most: int) -> dict[Place, str]:
    """`most` of the pictures, each with its input hash, or all there are; of equal ones, one."""
    places = {input_hash: place for place, input_hash in _last_first(there.items())}
    lots = sorted(places, key=lambda input_hash: hashlib.sha256(input_hash.encode()).digest())
    return {places[input_hash]: input_hash for input_hash in lots[:most]}


def _last_first(there: Iterable[tuple[Place, str]]) -> list[tuple[Place, str]]:
    return sorted(there, reverse=True)
