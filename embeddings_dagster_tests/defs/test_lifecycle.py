"""Runs whose process is gone, told from those that live; with real processes, and a real kill -9."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from embeddings_dagster.defs import tags
from embeddings_dagster.defs.lifecycle import alive, bury, process_is_alive, process_tags, set_pool_limits


@dg.op
def work() -> None: ...


@dg.job
def some_job() -> None:
    work()


def started(instance: dg.DagsterInstance, process: str, host: str | None = None, **status: str) -> dg.DagsterRun:
    mine = process_tags()
    run_tags = {tags.HOST: host or mine[tags.HOST], tags.PROCESS: process}
    return instance.create_run_for_job(some_job, tags=run_tags, status=dg.DagsterRunStatus.STARTED)


@pytest.fixture
def dead() -> str:
    """The tag of a process that ran, and was killed."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    stat = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    child.kill()
    child.wait()
    return f"{child.pid}:{stat[19]}"


def test_this_process_is_alive_and_a_killed_one_is_not(dead: str) -> None:
    assert process_is_alive(process_tags()[tags.PROCESS])
    assert not process_is_alive(dead)
    assert not process_is_alive("")


def test_another_process_with_the_same_id_is_not_the_same_one() -> None:
    assert not process_is_alive(f"{os.getpid()}:1")


def test_a_zombie_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    stat = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    tag = f"{child.pid}:{stat[19]}"
    assert process_is_alive(tag)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not process_is_alive(tag)
    child.communicate()


def test_the_dead_are_buried_with_their_slots_and_nobody_else(instance: dg.DagsterInstance, dead: str) -> None:
    set_pool_limits(instance, {"gpu": 1})
    gone = started(instance, dead)
    living = started(instance, process_tags()[tags.PROCESS])
    elsewhere = started(instance, dead, host="another-host")
    storage = instance.event_log_storage
    assert storage.claim_concurrency_slot("gpu", gone.run_id, "dino_embeddings").is_claimed
    assert bury(instance) == [gone.run_id]
    assert bury(instance) == []
    assert instance.get_run_by_id(gone.run_id).status == dg.DagsterRunStatus.FAILURE
    assert instance.get_run_by_id(living.run_id).status == dg.DagsterRunStatus.STARTED
    assert instance.get_run_by_id(elsewhere.run_id).status == dg.DagsterRunStatus.STARTED
    assert storage.claim_concurrency_slot("gpu", living.run_id, "dino_embeddings").is_claimed


def test_a_run_whose_process_was_killed_before_it_began_is_buried(instance: dg.DagsterInstance, dead: str) -> None:
    run_tags = {**process_tags(), tags.PROCESS: dead}
    run = instance.create_run_for_job(some_job, tags=run_tags, status=dg.DagsterRunStatus.NOT_STARTED)
    assert bury(instance) == [run.run_id]
    buried = instance.get_run_by_id(run.run_id)
    assert buried is not None
    assert buried.status == dg.DagsterRunStatus.FAILURE


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING])
def test_a_re_execution_that_has_only_the_tags_of_the_dead_run_it_repeats_is_left_alone(
    instance: dg.DagsterInstance, dead: str, status: dg.DagsterRunStatus
) -> None:
    parent = started(instance, dead)
    assert bury(instance) == [parent.run_id]
    inherited = {**parent.tags, "dagster/parent_run_id": parent.run_id, "dagster/root_run_id": parent.run_id}
    instance.create_run_for_job(
        some_job, tags=inherited, status=status, parent_run_id=parent.run_id, root_run_id=parent.run_id
    )
    assert bury(instance) == []


@pytest.mark.parametrize(
    ("asked", "ours"),
    [
        ({tags.DISCOVERED: "true", tags.PARTITION: "pics__1"}, True),
        ({tags.STATE: "s", tags.MODEL: "dino"}, True),
        ({tags.PARTITION: "pics__2"}, True),
        ({tags.RANGE_START: "pics__2", tags.RANGE_END: "pics__2"}, True),
        (tags.OURS, True),
        ({tags.PARTITION: "2026-01-01"}, False),
        ({}, False),
    ],
)
def test_a_run_that_was_handed_to_a_process_that_never_came_is_buried_in_time(
    instance: dg.DagsterInstance, asked: dict[str, str], ours: bool
) -> None:
    """A machine that loses its power while a run is starting: the run has no process to be missed by."""
    instance.add_dynamic_partitions("image_batches", ["pics__2"])
    run = instance.create_run_for_job(some_job, tags=asked, status=dg.DagsterRunStatus.STARTING)
    assert bury(instance) == [], "it may be on its way"
    assert bury(instance, timedelta(0)) == [run.run_id] * ours
    status = dg.DagsterRunStatus.FAILURE if ours else dg.DagsterRunStatus.STARTING
    assert instance.get_run_by_id(run.run_id).status == status


def test_a_run_that_was_killed_before_it_named_its_process_is_buried_in_time(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(some_job, tags=tags.OURS, status=dg.DagsterRunStatus.STARTED)
    assert bury(instance) == [], "it is about to"
    assert bury(instance, timedelta(0)) == [run.run_id]


def test_a_re_execution_that_was_killed_before_it_named_its_own_process_is_buried_in_time(
    instance: dg.DagsterInstance, dead: str
) -> None:
    parent = started(instance, dead)
    assert bury(instance) == [parent.run_id]
    inherited = {**parent.tags, **tags.OURS}
    run = instance.create_run_for_job(
        some_job, tags=inherited, status=dg.DagsterRunStatus.STARTED,
        parent_run_id=parent.run_id, root_run_id=parent.run_id,
    )  # fmt: skip
    assert bury(instance) == []
    assert bury(instance, timedelta(0)) == [run.run_id]


def test_those_under_way_are_told_once_the_dead_are_ended(instance: dg.DagsterInstance, dead: str) -> None:
    started(instance, dead)
    living = started(instance, process_tags()[tags.PROCESS])
    assert alive(instance) == [living.run_id]


def test_a_run_that_has_begun_is_not_taken_for_one_that_never_came(instance: dg.DagsterInstance) -> None:
    asked = {tags.DISCOVERED: "true", **process_tags()}
    instance.create_run_for_job(some_job, tags=asked, status=dg.DagsterRunStatus.CANCELING)
    assert bury(instance, timedelta(0)) == []


def test_a_dead_run_that_was_being_canceled_counts_as_canceled(instance: dg.DagsterInstance, dead: str) -> None:
    gone = started(instance, dead)
    instance.report_run_canceling(gone)
    bury(instance)
    assert instance.get_run_by_id(gone.run_id).status == dg.DagsterRunStatus.CANCELED


def test_limits_that_somebody_set_on_purpose_stay(instance: dg.DagsterInstance) -> None:
    instance.event_log_storage.set_concurrency_slots("gpu", 4)

    def limits() -> dict[str, int]:
        return {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}

    set_pool_limits(instance, {"gpu": 1, "index_dino": 1})
    assert limits() == {"gpu": 4, "index_dino": 1}
    set_pool_limits(instance, {"gpu": 2}, override=True)
    assert limits() == {"gpu": 2, "index_dino": 1}
