"""What the checks of batches look at, as functions of the store: counts, pixels, vectors. They trust no count but their
own, and read a bounded amount of what is large.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from PIL import Image, UnidentifiedImageError

from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.ids import Key
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.vector_inputs import rgb_rows, wanted_vectors
from embeddings_dagster.store import Store

PICTURES_OPENED = 64  # of a batch, evenly spread: opening reads headers, but the bytes come out of Parquet
NORM_TOLERANCE = 1e-3
NAMED = 5  # examples in a description


@dataclass(frozen=True)
class Finding:
    """What was looked at, and what is wrong with it; nothing wrong: passed."""

    looked_at: int
    wrong: Sequence[str] = ()
    detail: dict[str, int] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return not self.wrong

    def __str__(self) -> str:
        if self.passed:
            return f"{self.looked_at} looked at, nothing wrong"
        more = f" and {len(self.wrong) - NAMED} more" if len(self.wrong) > NAMED else ""
        return f"{len(self.wrong)} wrong of {self.looked_at}: {'; '.join(self.wrong[:NAMED])}{more}"


def counts_reconcile(store: Store, place: str, batch: str, upstream: int | None) -> Finding:
    """Whether total = rows + failures, both counted anew, and total is what upstream offers (None: not known)."""
    chain = store.chain(place, batch)
    manifest = chain.latest()
    if manifest is None:
        return Finding(0, [f"{place} of {batch} has no complete version"])
    rows = sum(len(part) for part in chain.scan(manifest, ("image_id",)))
    failed = len(chain.failures(manifest))
    counts = manifest.counts
    wrong = []
    if (rows, failed) != (counts.ok, counts.failed):
        wrong.append(f"{batch}: {rows} rows and {failed} failures, its manifest says {counts.ok} and {counts.failed}")
    if rows + failed != counts.total:
        wrong.append(f"{batch}: {rows} rows + {failed} failures are not the {counts.total} inputs")
    if upstream is not None and counts.total != upstream:
        wrong.append(f"{batch}: {counts.total} inputs taken, upstream offers {upstream}")
    return Finding(counts.total, wrong, {"total": counts.total, "rows": rows, "failed": failed})


def live_images(store: Store, source: str, batch: str) -> int | None:
    """How many images the ledger has in a batch."""
    ledger = store.ledger(source).latest()
    entry = ledger.batches.get(batch) if ledger else None
    return entry.live if entry else None


def regions_of(store: Store, batch: str) -> int | None:
    """How many regions `raw_images` of a batch describes: the whole of each image, and its panels."""
    chain = store.chain("raw_images", batch)
    manifest = chain.latest()
    if manifest is None:
        return None
    count = 0
    for part in chain.scan(manifest, ("image_id", "regions")):
        for row in part.to_pylist():
            count += 1 + len({region["region"] for region in row["regions"] or ()} - {0})
    return count


def rows_of(store: Store, place: str, batch: str) -> int | None:
    """How many live rows a batch has."""
    manifest = store.chain(place, batch).latest()
    return manifest.counts.ok if manifest else None


def vectors_offered(store: Store, batch: str, identity: ModelIdentity) -> int | None:
    """How many vectors a model makes of a batch: one for each region, or for each text."""
    if identity.inputs != "texts":
        return rows_of(store, "rgb_images", batch)
    chain = store.chain("rgb_images", batch)
    manifest = chain.latest()
    return len(wanted_vectors(identity.inputs, rgb_rows(chain, manifest, identity.inputs))) if manifest else None


def pictures_are_rgb(store: Store, batch: str) -> Finding:
    """Whether any reader sees 8-bit RGB: up to 64 pictures, evenly spread over the batch, opened with plain Pillow."""
    chain = store.chain("rgb_images", batch)
    manifest = chain.latest()
    if manifest is None:
        return Finding(0, [f"rgb_images of {batch} has no complete version"])
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
        return Finding(0, [f"{chain.dataset} of {batch} has no complete version"])
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
