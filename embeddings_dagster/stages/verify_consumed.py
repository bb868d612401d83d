"""What an index or the catalogue took in and is there no more: the newest version of a batch was lost, which nothing in
the batch itself can tell.

A batch that its ledger has emptied may be gone whole, for that is how it is forgotten; and so may one of a fingerprint
that does not serve, for `gc` takes those. One that says what was taken in, under whatever number, is not lost: it was
made anew.
"""

from collections.abc import Iterator, Mapping

from embeddings_dagster import ids
from embeddings_dagster.errors import StoreError
from embeddings_dagster.stages.models import serving
from embeddings_dagster.store import Chain, Consumed, Problem, Store
from embeddings_dagster.store.verify import ALL, RUN_AGAIN


def lost_batches(store: Store, dataset: str, consumed: Mapping[str, Consumed], by: str) -> Iterator[Problem]:
    """The batches of a dataset of which `by` has taken in a version that is newer than any there is."""
    for batch, state in sorted(consumed.items()):
        chain = store.chain(dataset, batch)
        try:
            newest = chain.latest()
            version, content = (newest.version, newest.content) if newest else (0, "")
            if state.version <= version or state.content == content or not (version or is_needed(store, chain)):
                continue
        except (StoreError, OSError):
            continue  # its own problem
        reason = f"{by} has taken in version {state.version} of it, and its newest is {version}"
        yield Problem(dataset, batch, chain.versions.path(state.version), ALL, reason, RUN_AGAIN)


def is_needed(store: Store, chain: Chain) -> bool:
    """Whether a batch that has no version has lost it: its ledger has pictures in it, and its rows are asked for.

    Raises:
        CorruptFile: the ledger or the registry cannot be read.
    """
    if not is_live(store, chain.batch):
        return False
    if not chain.dataset.startswith("embeddings/"):
        return True
    _, model, fp12 = chain.dataset.split("/")
    record = serving(store, model)
    return record is not None and record.fp12 == fp12


def is_live(store: Store, batch: str) -> bool:
    """Whether the ledger has pictures in a batch. Raises CorruptFile."""
    ledger = store.ledger(ids.source_of(batch)).latest()
    entry = ledger.batches.get(batch) if ledger else None
    return entry is not None and entry.live > 0
