"""What the checks of batches look at, as functions of the store: counts, pixels, vectors. They trust no count but their
own, and read a bounded amount of what is large.
"""

import io
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, UnidentifiedImageError

from embeddings_dagster import ids
from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.errors import MissingFile
from embeddings_dagster.ids import Key
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.vector_inputs import rgb_rows, wanted_vectors
from embeddings_dagster.store import Chain, Manifest, Store
from embeddings_dagster.store.parts import keys_of

PICTURES_OPENED = 64  # of a batch, evenly spread: opening reads headers, but the bytes come out of Parquet
NORM_TOLERANCE = 1e-3
NAMED = 5  # examples in a description


@dataclass(frozen=True)
class Finding:
    """What was looked at, and what is wrong with it; nothing wrong: passed. `missing`: there is nothing to look at yet,
    as where the batch failed. `unreadable`: it could not be looked at, for a file of it is damaged."""

    looked_at: int
    wrong: Sequence[str] = ()
    detail: dict[str, int] = field(default_factory=dict)
    missing: bool = False
    unreadable: bool = False

    @property
    def passed(self) -> bool:
        return not self.wrong

    def __str__(self) -> str:
        if self.passed:
            return f"{self.looked_at} looked at, nothing wrong"
        more = f" and {len(self.wrong) - NAMED} more" if len(self.wrong) > NAMED else ""
        return f"{len(self.wrong)} wrong of {self.looked_at}: {'; '.join(self.wrong[:NAMED])}{more}"


@dataclass(frozen=True)
class Said:
    """What a run said of a version, when it reported it to Dagster."""

    version: int
    content: str
    rows: int
    failed: int


def counts_reconcile(
    store: Store, place: str, batch: str, offered: Collection[Key] | None, said: Said | None = None
) -> Finding:
    """Whether each key that upstream offered (None: not known any more) is a row or a failure, once, counted anew; and
    whether the version that a run reported last is what it said."""
    chain = store.chain(place, batch)
    manifest = chain.latest()
    if manifest is None:
        return Finding(0, [f"{place} of {batch} has no complete version"], missing=True)
    rows = [key for part in chain.scan(manifest, _keys_in(place)) for key in keys_of(part)]
    failed = [Key(each.image_id, each.region) for each in chain.failures(manifest)]
    counts = manifest.counts
    wrong = []
    if (len(rows), len(failed)) != (counts.ok, counts.failed):
        wrong.append(f"{len(rows)} rows and {len(failed)} failures, its manifest says {counts.ok} and {counts.failed}")
    if len(rows) + len(failed) != counts.total:
        wrong.append(f"{len(rows)} rows + {len(failed)} failures are not the {counts.total} inputs")
    if again := [key for key, count in Counter([*rows, *failed]).items() if count > 1]:
        wrong.append(f"more than once: {_named(again)}")
    if offered is not None:
        taken = {*rows, *failed}
        wanted = set(offered)
        if wanted != taken:
            wrong.append(f"{len(taken)} inputs taken, upstream offers {len(wanted)}: {_named(wanted ^ taken)}")
    if said is not None:
        wrong += _otherwise(chain, said)
    told = [f"{place} of {batch} lost count: {each}" for each in wrong]
    return Finding(counts.total, told, {"total": counts.total, "rows": len(rows), "failed": len(failed)})


def _otherwise(chain: Chain, said: Said) -> list[str]:
    """How a version differs from what its run said of it; one that was collected since says nothing."""
    try:
        manifest = chain.get(said.version)
    except MissingFile:
        return []
    held = (manifest.content, manifest.counts.ok, manifest.counts.failed)
    if held == (said.content, said.rows, said.failed):
        return []
    return [
        f"its run said of version {said.version}: {said.rows} rows, {said.failed} failed, content {said.content[:12]}; "
        f"the store holds {held[1]} rows, {held[2]} failed, content {held[0][:12]}"
    ]


def _keys_in(place: str) -> tuple[str, ...]:
    return ("image_id",) if place == "raw_images" else ("image_id", "region")


def _named(keys: Collection[Key]) -> str:
    names = [f"{key.image_id} region {key.region}" if key.region else key.image_id for key in sorted(keys)]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def images_listed(store: Store, source: str, batch: str) -> frozenset[Key] | None:
    """The images that the ledger has in a batch; None where it has others now than `raw_images` took, or none."""
    ledger = store.ledger(source)
    manifest = ledger.latest()
    entry = manifest.batches.get(batch) if manifest else None
    if manifest is None or entry is None:
        return None
    raw = store.chain("raw_images", batch).latest()
    if raw is not None and raw.inputs.get(f"sources/{source}", {}).get("content") != entry.source_state:
        return None  # listed again since, and not lost
    rows = ledger.rows(manifest, batch)
    rows = rows.filter(pc.is_null(rows["removed_at"])).select(["local_id", "ordinal"]).to_pylist()
    return frozenset(Key(ids.image_id(source, row["local_id"], row["ordinal"]), 0) for row in rows)


def regions_described(store: Store, batch: str) -> frozenset[Key] | None:
    """The regions that `raw_images`, as `rgb_images` took it, describes: the whole of each image, and its panels."""
    chain = store.chain("raw_images", batch)
    manifest = _consumed(chain, store.chain("rgb_images", batch))
    if manifest is None:
        return None
    return frozenset(
        Key(row["image_id"], region)
        for part in chain.scan(manifest, ("image_id", "regions"))
        for row in part.to_pylist()
        for region in {0, *(each["region"] for each in row["regions"] or ())}
    )


def vectors_offered(store: Store, model: str, batch: str, identity: ModelIdentity) -> frozenset[Key] | None:
    """The vectors that a model makes of `rgb_images`, as it took it: one for each region, or for each text."""
    chain = store.chain("rgb_images", batch)
    manifest = _consumed(chain, store.chain(dataset(model, identity), batch))
    if manifest is None:
        return None
    return frozenset(wanted_vectors(identity.inputs, rgb_rows(chain, manifest, identity.inputs)))


def _consumed(upstream: Chain, chain: Chain) -> Manifest | None:
    """The version upstream that the newest here was made from; of the same content, where that one was collected."""
    made = chain.latest()
    newest = upstream.latest()
    if made is None:
        return newest
    said = made.inputs.get(f"{upstream.dataset}/{upstream.batch}", {})
    if newest is None or newest.content == said.get("content"):
        return newest
    try:
        return upstream.get(int(str(said["version"])))
    except (KeyError, MissingFile):
        return None


def pictures_are_rgb(store: Store, batch: str) -> Finding:
    """Whether any reader sees 8-bit RGB: up to 64 pictures, evenly spread over the batch, opened with plain Pillow."""
    chain = store.chain("rgb_images", batch)
    manifest = chain.latest()
    if manifest is None:
        return Finding(0, [f"rgb_images of {batch} has no complete version"], missing=True)
    keys = chain.rows(manifest, ("image_id", "region"))
    images = [image for image, region in zip(*(each.to_pylist() for each in keys.columns), strict=True) if region == 0]
    step = max(1, -(-len(images) // PICTURES_OPENED))
    wanted = {Key(image, 0) for image in images[::step]}
    wrong, looked_at = [], 0
    for part in chain.scan(manifest, ("image_id", "region", "image"), keys=wanted):
        for row in part.to_pylist():
            looked_at += 1
            mode = _mode(row["image"]["bytes"])
            if mode != "RGB":
                wrong.append(f"{row['image_id']} is {mode}")
    return Finding(looked_at, wrong)


def _mode(data: bytes | None) -> str:
    if data is None:
        return "without bytes"
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return picture.mode
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        return f"not readable ({error})"


def vectors_are_sound(store: Store, model: str, identity: ModelIdentity, batch: str) -> Finding:
    """Whether every vector has the model's dimension, is finite and not zero, has the norm recorded beside it, and norm
    1 where the model's convention says so."""
    chain = store.chain(dataset(model, identity), batch)
    manifest = chain.latest()
    if manifest is None:
        return Finding(0, [f"{chain.dataset} of {batch} has no complete version"], missing=True)
    wrong: list[str] = []
    looked_at = 0
    for part in chain.scan(manifest, ("image_id", "region", "embedding", "norm")):
        looked_at += len(part)
        wrong += _unsound(part, identity.dimension, normalised=identity.normalised)
    return Finding(looked_at, wrong, {"dimension": identity.dimension})


def _unsound(part: pa.RecordBatch, dimension: int, *, normalised: bool) -> list[str]:
    column = part.column("embedding")
    if column.type.list_size != dimension:
        return [f"vectors of {column.type.list_size} components, the model has {dimension}"]
    vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(len(part), dimension)
    recorded = part.column("norm").to_numpy(zero_copy_only=False)
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    long_enough = np.abs(norms - 1) <= NORM_TOLERANCE if normalised else norms > 0
    good = np.isfinite(vectors).all(axis=1) & long_enough & (np.abs(norms - recorded) <= 1e-4 * np.maximum(norms, 1))
    bad = np.flatnonzero(~good)
    names = part.column("image_id").take(pa.array(bad)).to_pylist()
    norms, recorded = norms[bad], recorded[bad]
    return [f"{name}: norm {norms[n]:.6g}, recorded {recorded[n]:.6g}" for n, name in enumerate(names)]
