"""Which batches want a run, told from the store alone: the ledgers' states against the versions that are committed.

Nothing here remembers what an earlier look saw, so a new daemon, a lost cursor or a run made by hand change nothing.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime

from embeddings_dagster import ids
from embeddings_dagster.catalog import Catalogue, CatalogueManifest
from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.index import GenerationManifest, Generations
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.status import stale_reason
from embeddings_dagster.store import Head, Heads, LedgerBatch, Store

MOST_OPENED = 1000  # manifests that are new to this machine, of one tick: a lost cache must not make a tick too long
BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


def ledger_batches(store: Store, sources: Iterable[str]) -> dict[str, LedgerBatch]:
    """Every batch of these sources' ledgers, by key; one file is read for each source."""
    ledgers = [store.ledger(source).latest() for source in sources]
    return {key: entry for ledger in ledgers if ledger for key, entry in sorted(ledger.batches.items())}


def in_order(batches: Mapping[str, LedgerBatch], keys: Iterable[str]) -> list[str]:
    """The keys, the batch that was scraped (else: first seen) first at the front; equal ones by key."""

    def age(key: str) -> tuple[datetime, str]:
        entry = batches[key]
        return entry.scraped_at or entry.first_seen or BEFORE_ALL, key

    return sorted(keys, key=age)


def raw_heads(store: Store, batches: Mapping[str, LedgerBatch], *, at_most: int | None = None) -> Heads:
    """What `raw_images` has of every batch. With `at_most`, of those new to this machine the last to change come first,
    and the others are left for the next time."""

    def changed(key: str) -> tuple[int, str]:
        return (-batches[key].since if key in batches else 1, key)

    return store.heads("raw_images", at_most=at_most, first=changed)


def behind(heads: Heads, batches: Mapping[str, LedgerBatch]) -> set[str]:
    """The batches whose `raw_images` (`heads`) is not what the ledger has; of those not opened nothing is said."""
    return {
        key for key, entry in batches.items() if key not in heads.unopened and raw_is_behind(heads.get(key), key, entry)
    }


def raw_is_behind(raw: Head, key: str, entry: LedgerBatch) -> bool:
    """Whether `raw_images` of a batch is not what the ledger has; an empty batch that was never made is not."""
    if raw.fault:
        return True  # its run says what is damaged, and what to do
    if not raw.version:
        return entry.live > 0
    return bool(stale_reason(raw, {f"sources/{ids.source_of(key)}": entry.source_state}))


def emptied(store: Store, keys: Collection[str], identities: Mapping[str, ModelIdentity]) -> list[str]:
    """Those of these removed batches that are empty all down the line, as the catalogue and every index know."""
    raw, rgb = store.heads("raw_images"), store.heads("rgb_images")
    catalogue = Catalogue(store).latest()
    left = [key for key in keys if _is_empty(raw.get(key)) and _is_empty(rgb.get(key)) and _knows(catalogue, key, raw)]
    for model, identity in identities.items():
        made = store.heads(dataset(model, identity))
        index = Generations(store, model, identity.fp12).latest()
        left = [key for key in left if _is_empty(made.get(key)) and _knows(index, key, made)]
    return left


def _knows(made: CatalogueManifest | GenerationManifest | None, key: str, heads: Heads) -> bool:
    """Whether what is made of all batches has nothing of this one, or has taken it in as it is."""
    consumed = made.consumed.get(key) if made else None
    return consumed is None or consumed.content == heads.get(key).content


def _is_empty(head: Head) -> bool:
    return not head.fault and not head.counts.total
