"""What Dagster says, after a run that ended well: no slot is held, no run is unfinished, and what was told last of each
batch is what is there. Vectors of a model are those of its fingerprint: where one comes back whose vectors are all
there, nothing is made, and what was told of it before still holds."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from embeddings_dagster import ids
from embeddings_dagster.defs.partitions import IMAGE_BATCHES
from embeddings_dagster.settings import Settings
from embeddings_dagster.stages.identities import identity
from embeddings_dagster.stages.opened import model_settings
from embeddings_dagster.store import Manifest, Store
from embeddings_dagster_tests.torture.violation import require

TOLD = ("total", "failed", "version", "content")
MOST = 1000  # events of a batch that are looked through


def require_finished(root: Path) -> None:
    """Raises Violation."""
    with dg.DagsterInstance.from_config(str(root / ".dagster")) as instance:
        for pool in instance.event_log_storage.get_concurrency_keys():
            claimed = instance.event_log_storage.get_concurrency_info(pool).claimed_slots
            require(not claimed, f"pool {pool} has slots of {claimed}")
        unfinished = [(run.run_id, run.status) for run in instance.get_runs() if not run.is_finished]
        require(not unfinished, f"unfinished: {unfinished}")


def require_told(root: Path, settings: Settings, store: Store, untold: set[str]) -> None:
    """`untold`: batches that a run of somebody else's had in hand when it was killed; only the next run of them tells
    of what it had committed. They are taken out once that is so. Raises Violation."""
    with dg.DagsterInstance.from_config(str(root / ".dagster")) as instance:
        known, waiting = set(instance.get_dynamic_partitions(IMAGE_BATCHES)), set()
        for asset, batch, manifest in _newest(settings, store):
            if not manifest.counts.total and batch not in known:
                continue  # emptied, and its key is dropped
            require(batch in known, f"{batch} has rows, and is no partition")
            asked = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[batch])
            told = (each.asset_materialization for each in instance.fetch_materializations(asked, limit=MOST).records)
            event = next((each for each in told if each.metadata["dataset"].value == manifest.dataset), None)
            said = {name: event.metadata[name].value for name in TOLD} if event else {}
            counts = manifest.counts
            is_so = dict(zip(TOLD, (counts.total, counts.failed, manifest.version, manifest.content), strict=True))
            if said != is_so and batch in untold:
                waiting.add(batch)
            else:
                require(said == is_so, f"{asset} {batch}: Dagster was told {said}, and it is {is_so}")
        untold &= waiting


def _newest(settings: Settings, store: Store) -> Iterator[tuple[str, str, Manifest]]:
    """The newest complete version of every batch, and the asset that it is of."""
    datasets = {"raw_images": "raw_images", "rgb_images": "rgb_images"}
    for model in settings.spaces:
        fp12 = identity(store, model, model_settings(settings, model)).fp12
        datasets[f"embeddings/{model}/{fp12}"] = f"{model}_embeddings"
    for dataset, asset in datasets.items():
        for batch in store.batches(dataset):
            manifest = store.chain(dataset, batch).latest()
            if manifest is not None and ids.source_of(batch) in settings.sources:
                yield asset, batch, manifest
