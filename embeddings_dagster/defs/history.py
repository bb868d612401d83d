"""What the project's Dagster instance knows of earlier runs: how fast they were, and which of them died."""

import socket
from collections.abc import Iterable

import dagster as dg

from embeddings_dagster.defs import tags
from embeddings_dagster.defs.lifecycle import ALIVE_STATUSES, is_dead
from embeddings_dagster.stages.preview import Pace

MATERIALISATIONS = 50  # of a stage, the newest, that a pace is taken from


def past_pace(instance: dg.DagsterInstance, stages: Iterable[str]) -> dict[str, Pace]:
    """Rows, seconds and bytes of each stage's newest materialisations that made anything; others are left out."""
    found = {}
    for stage in stages:
        rows, seconds, size = 0, 0.0, 0
        for record in instance.fetch_materializations(dg.AssetKey(stage), limit=MATERIALISATIONS).records:
            event = record.asset_materialization
            values = {name: each.value for name, each in event.metadata.items()} if event else {}
            made, took, wrote = values.get("processed"), values.get("seconds"), values.get("bytes_written")
            reused = values.get("reused")
            if isinstance(made, int) and isinstance(reused, int) and made > reused:
                rows += made - reused
                seconds += took if isinstance(took, float) else 0.0
                size += wrote if isinstance(wrote, int) else 0
        if rows:
            found[stage] = Pace(rows, seconds, size)
    return found


def dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """The runs of this host that count as running, and have no process any more; nothing is changed."""
    filters = dg.RunsFilter(statuses=ALIVE_STATUSES, tags={tags.HOST: socket.gethostname()})
    return [run.run_id for run in instance.get_runs(filters) if is_dead(instance, run)]


def pool_limits(instance: dg.DagsterInstance) -> dict[str, int]:
    """Every pool that has a limit of its own."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return {}
    return {pool.name: pool.limit for pool in storage.get_pool_limits() if not pool.from_default}
