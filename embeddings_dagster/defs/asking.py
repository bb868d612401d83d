"""Asking for a run once: not while one is under way, not again before a failed one has had time to heal.

Dagster ignores a run key for ever once a run with it has started. So a key counts how often that very change has been
tried: a change that comes back (A, B, A) has a new ledger version, and a failed run gives the next one a new number.
What the instance knows of the runs of many batches is asked for at once, not batch by batch.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from embeddings_dagster.defs import tags
from embeddings_dagster.defs.partitions import IMAGE_BATCHES, chunks
from embeddings_dagster.settings import DagsterSettings
from embeddings_dagster.store import LedgerBatch

STARTED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
UNDER_WAY = [*STARTED, dg.DagsterRunStatus.NOT_STARTED]
TRIED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS]  # a canceled run was not tried: it was not wanted
NOT_FAILED = [status for status in dg.DagsterRunStatus if status != dg.DagsterRunStatus.FAILURE]
LONGEST_WAIT = timedelta(hours=6)
FAILED_LOOKED_AT = 500
AT_ONCE = 200  # batches whose runs are asked for in one query
# A run that was created and never submitted belongs to a daemon that died between the two. A tick that asks for its
# key again has it submitted; younger ones may be on their way.
LEFT_BEHIND = timedelta(minutes=5)


def requests_for_batches(
    instance: dg.DagsterInstance, settings: DagsterSettings, entries: Sequence[LedgerBatch], most: int
) -> list[dg.RunRequest]:
    """Runs that bring the first `most` of these batches to their ledger's state, in the order given; left out are those
    of which one is under way, was canceled by hand, or rests after it failed."""
    found: list[dg.RunRequest] = []
    busy = batches_under_way(instance) if entries else set()
    for some in chunks([entry for entry in entries if entry.key not in busy], AT_ONCE):
        tried = _tried(instance, some)
        for entry in some:
            if len(found) == most:
                return found
            request = _request(settings, entry, tried[entry.key])
            if request is not None:
                found.append(request)
    return found


def batches_under_way(instance: dg.DagsterInstance) -> set[str]:
    """The batches of which a run is under way, be it of one batch or of a range of them."""
    runs = list(instance.get_runs(dg.RunsFilter(statuses=STARTED)))
    now = datetime.now(UTC)
    runs += [
        record.dagster_run
        for record in instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.NOT_STARTED]))
        if tags.RUN_KEY not in record.dagster_run.tags or abs(record.create_timestamp - now) < LEFT_BEHIND
    ]
    found = {run.tags[tags.PARTITION] for run in runs if tags.PARTITION in run.tags}
    ranges = {(run.tags[tags.RANGE_START], run.tags[tags.RANGE_END]) for run in runs if tags.RANGE_START in run.tags}
    return found.union(*(_between(instance, *ends) for ends in ranges))


def _between(instance: dg.DagsterInstance, start: str, end: str) -> Iterable[str]:
    keys = list(instance.get_dynamic_partitions(IMAGE_BATCHES))
    if start not in keys or end not in keys:
        return (start, end)
    return keys[keys.index(start) : keys.index(end) + 1]


def _tried(instance: dg.DagsterInstance, entries: Sequence[LedgerBatch]) -> Mapping[str, list[dg.RunRecord]]:
    """The runs that each of these batches has had for its present state, newest first."""
    asked = {tags.PARTITION: [entry.key for entry in entries], tags.SINCE: sorted({str(e.since) for e in entries})}
    since = {entry.key: str(entry.since) for entry in entries}
    found = defaultdict(list)
    for record in instance.get_run_records(dg.RunsFilter(tags=asked)):
        key = record.dagster_run.tags[tags.PARTITION]
        if record.dagster_run.tags[tags.SINCE] == since[key]:
            found[key].append(record)
    return found


def _request(settings: DagsterSettings, entry: LedgerBatch, runs: Sequence[dg.RunRecord]) -> dg.RunRequest | None:
    tried = [record for record in runs if record.dagster_run.status in TRIED]
    if tried and _rests(tried[0], backoff(settings, len(tried))):
        return None
    run_key = f"{entry.key}:{entry.since}:{len(tried)}"
    if any(
        record.dagster_run.tags.get(tags.RUN_KEY) == run_key
        and record.dagster_run.status != dg.DagsterRunStatus.NOT_STARTED
        for record in runs
    ):
        return None  # canceled by hand: Dagster would pass the key over, and it would take another batch's turn
    return dg.RunRequest(
        run_key=run_key,
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
        if _rests(last, backoff(settings, attempt)):
            return None
    return attempt


def _rests(record: dg.RunRecord, pause: timedelta) -> bool:
    """Whether a run ended less than a pause ago. One that ended in the future did so before the clock was set back."""
    ended = datetime.fromtimestamp(record.end_time, UTC) if record.end_time else record.update_timestamp
    return ended <= datetime.now(UTC) < ended + pause


def backoff(settings: DagsterSettings, attempt: int) -> timedelta:
    """How long to wait after so many tries: twice as long each time, at most six hours."""
    doubled = settings.retry_seconds * 2.0 ** min(attempt - 1, 30)
    return min(timedelta(seconds=doubled), LONGEST_WAIT)


def failed_batches(instance: dg.DagsterInstance, job: str, batches: Mapping[str, LedgerBatch]) -> set[str]:
    """Batches whose newest run failed, where that run was asked for because of the batch's present state."""
    failures = dg.RunsFilter(job_name=job, statuses=[dg.DagsterRunStatus.FAILURE])
    newest: dict[str, dg.RunRecord] = {}
    for record in instance.get_run_records(failures, limit=FAILED_LOOKED_AT):
        newest.setdefault(record.dagster_run.tags.get(tags.PARTITION, ""), record)
    failed = {
        key: record
        for key, record in newest.items()
        if key in batches and record.dagster_run.tags.get(tags.SINCE) == str(batches[key].since)
    }
    for some in chunks(sorted(failed), AT_ONCE):
        others = dg.RunsFilter(tags={tags.PARTITION: some}, statuses=NOT_FAILED)
        for record in instance.get_run_records(others):
            key = record.dagster_run.tags[tags.PARTITION]
            if key in failed and record.storage_id > failed[key].storage_id:
                del failed[key]
    return set(failed)
