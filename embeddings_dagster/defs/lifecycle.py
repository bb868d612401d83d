"""Which of our runs still have a process. Dagster does not notice when one is killed: the run stays 'started' for ever
and keeps its pool slots, so whoever needs one waits for nothing.

A run of ours carries its host and process from its first moment. `bury` ends those whose process is gone, by host, and
those that were handed to a process and never heard of again.
"""

import os
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from sqlalchemy.exc import IntegrityError

from embeddings_dagster.defs import tags
from embeddings_dagster.defs.partitions import known_keys

ALIVE_STATUSES = [
    dg.DagsterRunStatus.NOT_STARTED,  # created, and its process killed before it began
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

LONGEST_START = timedelta(minutes=5)  # a process that comes later finds its run ended, and leaves it so
START_TIME_FIELD = 19  # of /proc/PID/stat after the command's closing bracket: `starttime`, proc(5) field 22


def process_tags() -> dict[str, str]:
    """The tags that say which process this is."""
    return {tags.HOST: socket.gethostname(), tags.PROCESS: f"{os.getpid()}:{_started(os.getpid())}"}


def process_is_alive(process: str) -> bool:
    """Whether the process of a `PROCESS` tag, on this host, is still the same one and not a zombie."""
    pid, _, started = process.partition(":")
    if not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _started(int(pid)) == started


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks; '' where there is no /proc, 'gone' for none or a zombie."""
    if not Path("/proc/self/stat").exists():
        return ""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "gone"
    return "gone" if fields[0] in "ZX" else fields[START_TIME_FIELD]


def is_dead(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the process that a run of this host names is gone."""
    process = _own_process(instance, run)
    return process is not None and not process_is_alive(process)


def _own_process(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """The process of a run. A re-execution begins with the tags of the run it repeats; until it has put its own there,
    nothing is known of it."""
    process = run.tags.get(tags.PROCESS)
    parent = instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None
    return None if parent is not None and parent.tags.get(tags.PROCESS) == process else process


def alive(instance: dg.DagsterInstance) -> list[str]:
    """The ids of the runs that are under way, once the dead ones are ended."""
    bury(instance)
    statuses = [status for status in ALIVE_STATUSES if status != dg.DagsterRunStatus.NOT_STARTED]
    return [run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=statuses))]


def bury(instance: dg.DagsterInstance, longest_start: timedelta = LONGEST_START) -> list[str]:
    """End the runs of this host whose process is gone, and those whose process has not begun for so long; free their
    pool slots; return their ids."""
    return [*_bury_dead(instance), *_bury_stillborn(instance, longest_start)]


def _bury_dead(instance: dg.DagsterInstance) -> list[str]:
    filters = dg.RunsFilter(statuses=ALIVE_STATUSES, tags={tags.HOST: socket.gethostname()})
    buried = []
    for run in instance.get_runs(filters):
        if not is_dead(instance, run):
            continue
        # It may have ended by itself between the two looks: only what still counts as running now is dead.
        again = instance.get_run_by_id(run.run_id)
        if again is not None and again.status in ALIVE_STATUSES:
            end(
                instance,
                again,
                f"process {run.tags[tags.PROCESS].partition(':')[0]} is gone (killed, or out of memory)",
            )
            buried.append(run.run_id)
    return buried


def _bury_stillborn(instance: dg.DagsterInstance, longest_start: timedelta) -> list[str]:
    """Whoever was starting them was killed: they name no process, and would keep their batch from being asked for."""
    handed_over = instance.get_run_records(dg.RunsFilter(statuses=ALIVE_STATUSES))
    now = datetime.now(UTC)
    ages = [(now - each.update_timestamp.replace(tzinfo=UTC), each.dagster_run) for each in handed_over]
    waiting = [run for age, run in ages if abs(age) >= longest_start]  # below 0 where the clock was set back
    batches = known_keys(instance) if waiting else set()
    buried = []
    for run in waiting:
        named = {run.tags.get(tags.PARTITION), run.tags.get(tags.RANGE_START)}
        ours = {tags.JOB, tags.DISCOVERED, tags.STATE} & run.tags.keys() or named & batches
        again = instance.get_run_by_id(run.run_id)
        if not ours or again is None or again.status not in ALIVE_STATUSES:
            continue
        if _own_process(instance, again) is None:
            end(instance, again, "process never began (whoever was starting it was killed)")
            buried.append(run.run_id)
    return buried


def end(instance: dg.DagsterInstance, run: dg.DagsterRun, why: str) -> None:
    """Mark a run without a process as failed (canceled, if that was asked for) and free its pool slots."""
    if run.status == dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, f"Canceled: {why}")
    else:
        instance.report_run_failed(run, f"The run's {why}. What was committed stays; run the batch again to go on.")
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def set_pool_limits(instance: dg.DagsterInstance, limits: dict[str, int], *, override: bool = False) -> None:
    """Give each pool its limit; one that was set on purpose stays, unless `override`."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    known = {pool.name: pool for pool in storage.get_pool_limits()}
    for name, limit in limits.items():
        pool = known.get(name)
        if pool is None or pool.from_default or (override and pool.limit != limit):
            with suppress(IntegrityError):  # another process gives a new pool its limit at this very moment
                storage.set_concurrency_slots(name, limit)
