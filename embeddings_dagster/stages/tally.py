"""Which batches a run has to take, and what it did to each image: total = processed + skipped + failed + undone.

Counted anew from the store after the run, image by image, so that it can be held against what the stages themselves
said. An image that any stage failed on counts as failed, whatever else was made of it: so does a page of which one
panel failed. An image that lies in several batches counts in each.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from embeddings_dagster import ids
from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.status import MISSING, BatchStatus
from embeddings_dagster.store import Ledger, LedgerManifest, Store


def wants_run(store: Store, status: BatchStatus, *, retry_failed: bool = False, force: bool = False) -> bool:
    """Whether a run would find anything to do in a batch: something stale or lost, or a failure that is to be tried
    again."""
    if not status.images and status.stages[0].state == MISSING:
        return False  # emptied before it was ever made
    if force or not status.current or not status.reconciles:
        return True
    for stage in status.stages:
        if stage.failed:
            chain = store.chain(stage.dataset, status.batch)
            if retry_failed or any(each.retryable for each in chain.failures(chain.get(stage.version))):
                return True
    return False


@dataclass(frozen=True)
class Tally:
    """Images of one source. `undone`: neither a row nor a failure, because their batch could not be finished."""

    source: str
    total: int
    processed: int
    skipped: int
    failed: int
    undone: int


def tally(
    store: Store,
    identities: Mapping[str, ModelIdentity],
    source: str,
    statuses: Iterable[BatchStatus],
    launched: Collection[str],
    run_ids: Collection[str],
) -> Tally:
    """Count what became of each image of some batches.

    `statuses` are those after the run; `identities` the models that it was to take, `launched` the batches it took, by
    the runs of `run_ids`. A batch that it left alone is current, and its rows are not read.
    """
    total = processed = skipped = failed = undone = 0
    ledger = store.ledger(source)
    manifest = ledger.latest()
    for status in statuses:
        if status.batch not in launched:
            bad = _failed(store, status)
            total, failed, skipped = total + status.images, failed + len(bad), skipped + status.images - len(bad)
            continue
        made, bad, whole = _images(store, identities, status, run_ids)
        wanted = _wanted(ledger, manifest, status)
        good = (whole & wanted) - bad
        total += len(wanted)
        processed += len(good & made)
        skipped += len(good - made)
        failed += len(wanted & bad)
        undone += len(wanted - whole - bad)
    return Tally(source, total, processed, skipped, failed, undone)


def _wanted(ledger: Ledger, manifest: LedgerManifest | None, status: BatchStatus) -> set[str]:
    """Images of a batch by its ledger."""
    rows = ledger.rows(manifest, status.batch).to_pylist() if manifest else []
    return {ids.image_id(status.source, row["local_id"], row["ordinal"]) for row in rows if not row["removed_at"]}


def _failed(store: Store, status: BatchStatus) -> set[str]:
    """Images of a batch that failed at any stage."""
    found: set[str] = set()
    for stage in status.stages:
        if stage.failed:
            chain = store.chain(stage.dataset, status.batch)
            found.update(failure.image_id for failure in chain.failures(chain.get(stage.version)))
    return found


def _images(
    store: Store, identities: Mapping[str, ModelIdentity], status: BatchStatus, run_ids: Collection[str]
) -> tuple[set[str], set[str], set[str]]:
    """Images of a batch: made by these runs at any stage, failed at any stage, and present at every stage."""
    made: set[str] = set()
    bad: set[str] = set()
    whole: set[str] | None = None
    encoded = {dataset(model, each): each for model, each in identities.items()}
    for place in ("raw_images", "rgb_images", *encoded):
        chain = store.chain(place, status.batch)
        manifest = chain.latest()
        present: set[str] = set()
        if manifest is not None:
            for rows in chain.scan(manifest, ("image_id", "run_id")):
                images = rows.column("image_id").to_pylist()
                present.update(images)
                runs = rows.column("run_id").to_pylist()
                made.update(image for image, run in zip(images, runs, strict=True) if run in run_ids)
            bad.update(failure.image_id for failure in chain.failures(manifest))
        if place in encoded and encoded[place].inputs == "texts":
            continue  # an image without text is none the less whole
        whole = present if whole is None else whole & present
    return made, bad, whole or set()
