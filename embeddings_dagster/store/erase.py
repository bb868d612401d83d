"""Erasing what was emptied, a batch with all of its versions, and a ledger; and what can be made anew.

In an order that a kill cannot turn into a resurrection: older versions go first, the newest, which is empty, goes last,
and only then the files that none of them names any more. Erasing again finishes what was begun.
"""

from collections.abc import Iterator
from typing import Any

from embeddings_dagster.errors import StoreError
from embeddings_dagster.store.generations import GenerationChain
from embeddings_dagster.store.local_file import forget_local_folder
from embeddings_dagster.store.steps import reached
from embeddings_dagster.store.store import SINGLE_DATASETS, Store
from embeddings_dagster.store.versions import Versions


def erase_batch(store: Store, batch: str) -> None:
    """Erase a batch from every dataset, of models that nobody asks for any more too.

    Raises:
        StoreError: its pictures have rows or failures yet; nothing was erased.
    """
    for dataset in SINGLE_DATASETS:
        newest = store.chain(dataset, batch).latest()
        if newest is not None and newest.counts.total:
            raise StoreError(f"{dataset} of batch {batch} is not empty; report this as a bug")
    # What was made of a dataset goes before it, so that nothing is ever there without its input. Vectors of a former
    # fingerprint are among it, which were emptied by no run.
    for dataset in reversed(list(datasets_of(store, batch))):
        chain = store.chain(dataset, batch)
        _erase(store, chain.versions, chain.folder)


def erase_ledger(store: Store, source: str) -> None:
    """Erase the ledger of a source.

    Raises:
        StoreError: it has live images yet; nothing was erased.
    """
    ledger = store.ledger(source)
    newest = ledger.latest()
    if newest is not None and any(entry.live for entry in newest.batches.values()):
        raise StoreError(f"the ledger of source {source} is not empty; report this as a bug")
    _erase(store, ledger.versions, ledger.folder)


def erase_generations(store: Store, chain: GenerationChain[Any]) -> None:
    """Erase every generation of something that can be made anew."""
    _erase(store, chain.versions, chain.folder)


def datasets_of(store: Store, batch: str) -> Iterator[str]:
    """The datasets that have anything of a batch, unfinished files included."""
    models = [f"embeddings/{name}" for name in store.files.folders("embeddings")]
    vectors = [f"{model}/{fingerprint}" for model in models for fingerprint in store.files.folders(model)]
    for dataset in (*SINGLE_DATASETS, *vectors):
        if store.files.folders(f"{dataset}/{batch}"):
            yield dataset


def _erase(store: Store, versions: Versions, folder: str) -> None:
    for number in versions.numbers():
        store.files.delete(versions.path(number))
        reached("erase:version")
    store.files.delete_folder(folder)
    forget_local_folder(store, folder)
    reached("erase:folder")
