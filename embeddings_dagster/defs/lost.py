"""What Dagster's event log says was there, and the store has no more: the newest version of a chain leaves no other
trace when it is lost.

An event is written after its commit, so a store may be ahead of the log and never behind it. What was forgotten, what
was made anew under other numbers, and events of a home that does not know this store are no loss.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

import dagster as dg

from embeddings_dagster.catalog import Catalogue
from embeddings_dagster.defs.models import embeddings_name, index_name
from embeddings_dagster.errors import StoreError
from embeddings_dagster.index import Generations
from embeddings_dagster.settings import Settings
from embeddings_dagster.stages.catalog import ASSET
from embeddings_dagster.stages.verify_consumed import is_needed
from embeddings_dagster.store import Chain, Problem, Store
from embeddings_dagster.store.generations import GenerationChain
from embeddings_dagster.store.verify import ALL, RUN_AGAIN

AT_A_TIME = 500  # events read in one query


class Recorded(NamedTuple):
    """The newest materialisation of an asset, or of a partition of it, by its plain metadata."""

    partition: str | None
    run_id: str
    said: Mapping[str, object]


def lost_versions(instance: dg.DagsterInstance, store: Store, settings: Settings) -> list[Problem]:
    """Every chain whose newest recorded version is newer than the newest there is, and says something else."""
    found: list[Problem] = []
    for name in ("raw_images", "rgb_images", *map(embeddings_name, settings.spaces)):
        for event in _newest_of_partitions(instance, name):
            dataset = event.said.get("dataset", name if name.endswith("_images") else None)
            if isinstance(dataset, str) and event.partition is not None:
                found += _lost_version(instance, store.chain(dataset, event.partition), store, event)
    for model in settings.spaces:
        for event in _newest(instance, index_name(model)):
            fingerprint = event.said.get("fingerprint")
            if isinstance(fingerprint, str):
                chain = Generations(store, model, fingerprint[:12])
                found += _lost_generation(instance, chain, ("indexes", model), event)
    for event in _newest(instance, ASSET):
        found += _lost_generation(instance, Catalogue(store), ("catalog", ""), event)
    return found


def _lost_version(instance: dg.DagsterInstance, chain: Chain, store: Store, event: Recorded) -> Iterator[Problem]:
    version, content = event.said.get("version"), event.said.get("content")
    try:
        newest = chain.latest()
        if newest is None and not is_needed(store, chain):
            return  # forgotten, or of a fingerprint that does not serve
    except (StoreError, OSError):
        return  # its own problem
    number = newest.version if newest else 0
    if not isinstance(version, int) or version <= number or (newest and newest.content == content):
        return
    if not instance.has_run(newest.run_id if newest else event.run_id):
        return  # this home knows another store
    reason = f"Dagster has recorded version {version}, of run {event.run_id[:8]}, and the newest is {number}"
    yield Problem(chain.dataset, chain.batch, chain.versions.path(version), ALL, reason, RUN_AGAIN)


def _lost_generation(
    instance: dg.DagsterInstance, chain: GenerationChain[Any], place: tuple[str, str], event: Recorded
) -> Iterator[Problem]:
    recorded = event.said.get("generation")
    try:
        newest = chain.latest()
    except (StoreError, OSError):
        return  # its own problem
    number = newest.version if newest else 0
    if not isinstance(recorded, int) or recorded <= number:
        return
    if newest is not None and not instance.has_run(newest.run_id):
        return  # this home knows another store
    reason = f"Dagster has recorded generation {recorded}, of run {event.run_id[:8]}, and the newest is {number}"
    yield Problem(*place, chain.versions.path(recorded), ALL, reason, RUN_AGAIN)


def _newest(instance: dg.DagsterInstance, name: str) -> list[Recorded]:
    records = instance.fetch_materializations(dg.AssetKey(name), limit=1).records
    return [_recorded(record) for record in records]


def _newest_of_partitions(instance: dg.DagsterInstance, name: str) -> Iterator[Recorded]:
    key = dg.AssetKey(name)
    newest = instance.event_log_storage.get_latest_storage_id_by_partition(
        key, dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    ids = iter(sorted(newest.values()))
    while some := list(islice(ids, AT_A_TIME)):
        found = dg.AssetRecordsFilter(asset_key=key, storage_ids=some)
        for record in instance.fetch_materializations(found, limit=len(some)).records:
            yield _recorded(record)


def _recorded(record: dg.EventLogRecord) -> Recorded:
    event = record.asset_materialization
    said = {name: each.value for name, each in event.metadata.items()} if event else {}
    return Recorded(record.partition_key, record.run_id, said)
