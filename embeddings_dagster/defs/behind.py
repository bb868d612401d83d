"""Which batches want a run, told from the store alone: the ledgers' states against the versions that are committed.

Nothing here remembers what an earlier look saw, so a new daemon, a lost cursor or a run made by hand change nothing.
"""

from collections.abc import Iterable, Mapping

from embeddings_dagster import ids
from embeddings_dagster.encoders import ModelIdentity
from embeddings_dagster.index import Generations
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.status import stale_reason
from embeddings_dagster.store import LedgerBatch, Store

NEWEST = 200  # batches that changed last are looked at in every tick,
WINDOW = 300  # and of the others so many, in turn: a tick opens at most 500 manifests


def ledger_batches(store: Store, sources: Iterable[str]) -> dict[str, LedgerBatch]:
    """Every batch of these sources' ledgers, by key; one file is read for each source."""
    ledgers = [store.ledger(source).latest() for source in sources]
    return {key: entry for ledger in ledgers if ledger for key, entry in sorted(ledger.batches.items())}


def window(batches: Mapping[str, LedgerBatch], after: str) -> tuple[list[str], str]:
    """The keys to look at in this tick, and where the next one goes on.

    Those that changed last in their source come first, then a stretch of all keys after `after`, going round.
    """
    newest = sorted(batches, key=lambda key: (-batches[key].since, key))[:NEWEST]
    ordered = sorted(batches)
    start = next((place for place, key in enumerate(ordered) if key > after), 0)
    stretch = [*ordered[start:], *ordered[:start]][:WINDOW]
    return list(dict.fromkeys([*newest, *stretch])), stretch[-1] if len(stretch) < len(ordered) else ""


def raw_is_behind(store: Store, key: str, entry: LedgerBatch) -> bool:
    """Whether `raw_images` of a batch is not what the ledger has; an empty batch that was never made is not."""
    raw = store.chain("raw_images", key).latest()
    if raw is None:
        return entry.live > 0
    return bool(stale_reason(raw, {f"sources/{ids.source_of(key)}": entry.source_state}))


def is_emptied(store: Store, key: str, identities: Mapping[str, ModelIdentity]) -> bool:
    """Whether a removed batch is empty all down the line, and every index knows."""
    raw = store.chain("raw_images", key).latest()
    rgb = store.chain("rgb_images", key).latest()
    if (raw and raw.counts.total) or (rgb and rgb.counts.total):
        return False
    return all(_index_let_go(store, key, model, identity) for model, identity in identities.items())


def _index_let_go(store: Store, key: str, model: str, identity: ModelIdentity) -> bool:
    made = store.chain(dataset(model, identity), key).latest()
    if made is None:
        return True
    index = Generations(store, model, identity.fp12).latest()
    consumed = index.consumed.get(key) if index else None
    return made.counts.total == 0 and (consumed is None or consumed.content == made.content)
