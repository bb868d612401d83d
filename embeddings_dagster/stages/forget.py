"""Forgetting: what a source left behind goes, down the line, when its owner says so.

In three steps, each of which may be repeated: the ledger lets go of every image (`let_go`), a run then empties the
batches and the indexes, and what is empty is erased (`erase`), with the analyses that show pictures. A source that the
settings still have is not forgotten, for the next look would bring it back.
"""

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from embeddings_dagster import ids
from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.errors import ForgetRefused, UnknownItem
from embeddings_dagster.index import Generations
from embeddings_dagster.settings import Settings
from embeddings_dagster.stages.analyses import erase_pictures
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.models import serving
from embeddings_dagster.store import Store, erase_batch, erase_ledger


@dataclass(frozen=True)
class Forgotten:
    """What is to go: `batches` of a source, all it has (`whole`) or some; `images` of them are live in the ledger."""

    source: str
    batches: tuple[str, ...]
    images: int
    whole: bool


def to_forget(store: Store, settings: Settings, name: str) -> Forgotten:
    """What forgetting a source or a batch means; nothing is changed.

    Raises:
        UnknownItem: there is no such source or batch.
        ForgetRefused: it would come back, or an index is pinned to it.
    """
    source = ids.source_of(name)
    ledger = store.ledger(source).latest() if source in store.sources() else None
    if ledger is None:
        known = ", ".join(store.sources()) or "none"
        raise UnknownItem(f"nothing is known of {name!r} (sources there: {known}); `embeddings status` lists them")
    whole = name == source
    if not whole and name not in ledger.batches:
        raise UnknownItem(f"source {source!r} has no batch {name!r}; `embeddings status --json` lists them")
    wanted = sorted(ledger.batches) if whole else [name]
    images = sum(ledger.batches[batch].live for batch in wanted)
    if source in settings.sources and (whole or images):
        raise ForgetRefused(
            f"{name}: {settings.place('sources', source)} is still in the settings, so its pictures would come back. "
            + ("Take it out first" if whole else "Remove the batch's pictures and run, or take the source out first")
        )
    _require_unpinned(store, settings)
    return Forgotten(source, tuple(wanted), images, whole)


def _require_unpinned(store: Store, settings: Settings) -> None:
    for model in settings.spaces:
        record = serving(store, model)
        index = Generations(store, model, record.fingerprint[:12]).latest() if record else None
        if index is not None and index.pinned:
            raise ForgetRefused(
                f"{model}_index is pinned by a rollback, and would keep what is to be forgotten; let it go on first: "
                "`embeddings index rollback --release`"
            )


def let_go(context: StageContext, wanted: Forgotten) -> None:
    """Take every image of those batches out of the ledger; a run then empties what was made of them.

    Raises:
        CommitConflict: another writer was faster; nothing was changed.
    """
    ledger = context.store.ledger(wanted.source)
    base = ledger.latest()
    if base is None:
        return
    now = pa.scalar(datetime.now(UTC), pa.timestamp("us", "UTC"))
    changed = {}
    for batch in wanted.batches:
        rows = ledger.rows(base, batch)
        place = rows.schema.get_field_index("removed_at")
        changed[batch] = rows.set_column(place, rows.schema.field(place), pc.coalesce(rows.column(place), now))
    ledger.commit(base, changed, run_id=context.run_id)


def erase(store: Store, settings: Settings, wanted: Forgotten) -> None:
    """Erase the clusters and maps that may show pictures of them, and the files of batches that are empty; with the
    whole source its ledger, its downloads, and what `cache/` remembers of it.

    Raises:
        StoreError: one is not empty.
    """
    erase_pictures(store)
    for batch in wanted.batches:
        erase_batch(store, batch)
    if not wanted.whole:
        return
    shutil.rmtree(settings.image_cache(wanted.source), ignore_errors=True)
    for folder in store.cache.iterdir() if store.cache.is_dir() else ():
        for found in folder.glob(f"{wanted.source}.*") if folder.is_dir() else ():
            found.unlink(missing_ok=True)
    erase_ledger(store, wanted.source)


def still_served(
    store: Store, identities: Mapping[str, ModelIdentity], batches: Collection[str]
) -> tuple[list[str], list[str]]:
    """Where something of batches remains: models whose serving index, of an older fingerprint, still answers with them;
    and the folders of indexes whose segments hold vectors of them that no search returns."""
    answers, holds = [], []
    for model, identity in identities.items():
        record = serving(store, model)
        for fp12 in store.files.folders(f"indexes/{model}"):
            index = Generations(store, model, fp12)
            newest = index.latest()
            taken = set(newest.consumed) & set(batches) if newest else set()
            if taken and record is not None and fp12 == record.fp12 != identity.fp12:
                answers.append(model)
            if newest is not None and newest.segments:
                holds.append(index.folder)
    return answers, holds
