"""Asking for a run once: not while one is under way, not again before a failed one has had time to heal.

Dagster ignores a run key for ever once a run with it has started. So a key counts how often that very change has been
tried: a change that comes back (A, B, A) has a new ledger version, and a failed run gives the next one a new number.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg

from embeddings_dagster.defs import tags
from embeddings_dagster.settings import DagsterSettings
from embeddings_dagster.store import LedgerBatch

UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
TRIED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS]  # a canceled run was not tried: it was not wanted
LONGEST_WAIT = timedelta(hours=6)
FAILED_LOOKED_AT = 200


def request_for_batch(
    instance: dg.DagsterInstance, settings: DagsterSettings, entry: LedgerBatch
) -> dg.RunRequest | None:
    """A run that brings a batch to its ledger's state; none while one is under way, or a failed one still rests."""
    asked = {tags.PARTITION: entry.key, tags.SINCE: str(entry.since)}
    attempt = next_attempt(instance, settings, {tags.PARTITION: entry.key}, asked)
    if attempt is None:
        return None
    return dg.RunRequest(
        run_key=f"{entry.key}:{entry.since}:{attempt}",
        partition_key=entry.key,
        tags={tags.SINCE: str(entry.since), tags.DISCOVERED: "true"},
    )


def next_attempt(
    instance: dg.DagsterInstance, settings: DagsterSettings, same: Mapping[str, str], asked: Mapping[str, str]
) -> int | None:
    """The number of the next try: how often runs tagged `asked` have ended. None: not now.

    Not while a run tagged `same` is under way, and not before the last one of `asked` has rested.
    """
    if instance.get_runs_count(dg.RunsFilter(tags=dict(same), statuses=UNDER_WAY)):
        return None
    tried = dg.RunsFilter(tags=dict(asked), statuses=TRIED)
    attempt = instance.get_runs_count(tried)
    if attempt:
        last = instance.get_run_records(tried, limit=1)[0]
        if datetime.now(UTC) < _ended(last) + backoff(settings, attempt):
            return None
    return attempt


def _ended(record: dg.RunRecord) -> datetime:
    return datetime.fromtimestamp(record.end_time, UTC) if record.end_time else record.update_timestamp


def backoff(settings: DagsterSettings, attempt: int) -> timedelta:
    """How long to wait after so many tries: twice as long each time, at most six hours."""
    doubled = settings.retry_seconds * 2.0 ** min(attempt - 1, 30)
    return min(timedelta(seconds=doubled), LONGEST_WAIT)


def failed_batches(instance: dg.DagsterInstance, job: str, batches: Mapping[str, LedgerBatch]) -> list[str]:
    """Batches whose newest run failed, where that run was asked for because of the batch's present state."""
    filters = dg.RunsFilter(job_name=job, statuses=[dg.DagsterRunStatus.FAILURE])
    found = []
    for record in instance.get_run_records(filters, limit=FAILED_LOOKED_AT):
        run = record.dagster_run
        key = run.tags.get(tags.PARTITION, "")
        entry = batches.get(key)
        if entry is None or key in found or run.tags.get(tags.SINCE) != str(entry.since):
            continue
        newest = instance.get_runs(dg.RunsFilter(tags={tags.PARTITION: key}), limit=1)
        if newest and newest[0].run_id == run.run_id:
            found.append(key)
    return found
