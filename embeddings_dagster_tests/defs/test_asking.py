from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from embeddings_dagster.defs import asking
from embeddings_dagster.defs.asking import (
    LEFT_BEHIND,
    backoff,
    batches_under_way,
    failed_batches,
    next_attempt,
    requests_for_batches,
)
from embeddings_dagster.defs.partitions import add_keys
from embeddings_dagster.settings import DagsterSettings
from embeddings_dagster.store import LedgerBatch

QUICK = DagsterSettings(retry_seconds=0)
SLOW = DagsterSettings(retry_seconds=60)


@dg.job
def embed_batches() -> None: ...


def ended_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, tags: dict[str, str]) -> dg.DagsterRun:
    run = instance.create_run_for_job(embed_batches, tags=tags, status=dg.DagsterRunStatus.STARTED)
    if status == dg.DagsterRunStatus.FAILURE:
        instance.report_run_failed(run)
    elif status == dg.DagsterRunStatus.CANCELED:
        instance.report_run_canceled(run)
    return run


def batch(since: int, key: str = "pics__1") -> LedgerBatch:
    return LedgerBatch(key, f"state-{since}", since, 2, 2, datetime.now(UTC), None, "f", 2, 1, "s")


def request_for_batch(
    instance: dg.DagsterInstance, settings: DagsterSettings, entry: LedgerBatch
) -> dg.RunRequest | None:
    found = requests_for_batches(instance, settings, [entry], 1)
    return found[0] if found else None


def asked_tags(since: int, key: str = "pics__1") -> dict[str, str]:
    return {"dagster/partition": key, "embeddings/since": str(since)}


def test_a_batch_is_asked_for_by_its_change_and_try(instance: dg.DagsterInstance) -> None:
    request = request_for_batch(instance, QUICK, batch(7))
    assert request is not None
    assert (request.run_key, request.partition_key) == ("pics__1:7:0", "pics__1")
    assert request.tags == {"embeddings/since": "7", "embeddings/discovered": "true"}


def test_no_second_run_while_one_is_under_way(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(embed_batches, tags=asked_tags(6), status=dg.DagsterRunStatus.STARTED)
    assert request_for_batch(instance, QUICK, batch(7)) is None
    instance.report_run_failed(run)
    assert request_for_batch(instance, QUICK, batch(7)) is not None


def test_a_failed_run_is_asked_for_again_under_a_new_key(instance: dg.DagsterInstance) -> None:
    ended_run(instance, dg.DagsterRunStatus.FAILURE, asked_tags(7))
    ended_run(instance, dg.DagsterRunStatus.FAILURE, asked_tags(7))
    request = request_for_batch(instance, QUICK, batch(7))
    assert request is not None
    assert request.run_key == "pics__1:7:2"


def test_a_failed_run_rests_before_the_next_try(instance: dg.DagsterInstance) -> None:
    ended_run(instance, dg.DagsterRunStatus.FAILURE, asked_tags(7))
    assert request_for_batch(instance, SLOW, batch(7)) is None
    assert request_for_batch(instance, SLOW, batch(8)) is not None, "another change has not failed yet"


def test_a_canceled_run_keeps_its_key_so_that_it_is_not_started_again(instance: dg.DagsterInstance) -> None:
    ended_run(instance, dg.DagsterRunStatus.CANCELED, asked_tags(7))
    request = request_for_batch(instance, QUICK, batch(7))
    assert request is not None
    assert request.run_key == "pics__1:7:0"


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 60), (2, 120), (9, 15_360), (10, 21_600), (500, 21_600)])
def test_waiting_doubles_up_to_six_hours(attempt: int, seconds: int) -> None:
    assert backoff(SLOW, attempt) == timedelta(seconds=seconds)


def test_failed_batches_are_those_whose_newest_run_failed_on_their_present_state(instance: dg.DagsterInstance) -> None:
    failed = dg.DagsterRunStatus.FAILURE
    ended_run(instance, failed, asked_tags(7, "pics__1"))
    ended_run(instance, failed, asked_tags(6, "pics__2"))  # of an older state
    ended_run(instance, failed, asked_tags(7, "pics__3"))
    instance.create_run_for_job(embed_batches, tags=asked_tags(7, "pics__3"), status=dg.DagsterRunStatus.SUCCESS)
    ended_run(instance, failed, {"dagster/partition": "pics__4"})  # by hand
    ended_run(instance, failed, asked_tags(7, "pics__5"))  # not in the ledger any more
    batches = {f"pics__{number}": batch(7, f"pics__{number}") for number in (1, 2, 3, 4)}
    assert failed_batches(instance, "embed_batches", batches) == {"pics__1"}


def test_requests_keep_the_order_given_and_are_no_more_than_asked_for(instance: dg.DagsterInstance) -> None:
    entries = [batch(7, f"pics__{number}") for number in (3, 1, 2, 5, 4)]
    instance.create_run_for_job(embed_batches, tags=asked_tags(7, "pics__1"), status=dg.DagsterRunStatus.STARTED)
    ended_run(instance, dg.DagsterRunStatus.FAILURE, asked_tags(7, "pics__2"))
    found = requests_for_batches(instance, SLOW, entries, 2)
    assert [request.run_key for request in found] == ["pics__3:7:0", "pics__5:7:0"], "1 is under way, 2 rests"


def test_a_canceled_run_takes_no_other_batchs_turn(instance: dg.DagsterInstance) -> None:
    """Dagster passes its key over for ever; asked for in every tick, it would be one of the few of that tick."""
    ended_run(instance, dg.DagsterRunStatus.CANCELED, {**asked_tags(7), "dagster/run_key": "pics__1:7:0"})
    assert requests_for_batches(instance, QUICK, [batch(7), batch(7, "pics__2")], 1)[0].partition_key == "pics__2"
    assert request_for_batch(instance, QUICK, batch(8)) is not None, "its next change is another matter"


def test_a_run_of_a_range_is_under_way_for_each_of_its_batches(instance: dg.DagsterInstance) -> None:
    add_keys(instance, [f"pics__{number}" for number in range(6)])
    ends = {"dagster/asset_partition_range_start": "pics__2", "dagster/asset_partition_range_end": "pics__4"}
    instance.create_run_for_job(embed_batches, tags=ends, status=dg.DagsterRunStatus.STARTED)
    assert batches_under_way(instance) == {"pics__2", "pics__3", "pics__4"}


def test_a_run_that_was_created_and_never_submitted_is_asked_for_again_by_its_own_key(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that dies between the two leaves it so; Dagster submits it when its key is asked for again."""
    instance.create_run_for_job(embed_batches, tags={**asked_tags(7), "dagster/run_key": "pics__1:7:0"})
    assert request_for_batch(instance, QUICK, batch(7)) is None, "it may be on its way"
    monkeypatch.setattr(asking, "LEFT_BEHIND", -LEFT_BEHIND)
    request = request_for_batch(instance, QUICK, batch(7))
    assert request is not None
    assert request.run_key == "pics__1:7:0"


def test_an_index_counts_its_own_tries(instance: dg.DagsterInstance) -> None:
    asked = {"embeddings/model": "dino", "embeddings/state": "abc"}
    assert next_attempt(instance, QUICK, {"embeddings/model": "dino"}, asked) == 0
    ended_run(instance, dg.DagsterRunStatus.FAILURE, asked)
    assert next_attempt(instance, QUICK, {"embeddings/model": "dino"}, asked) == 1
    assert next_attempt(instance, SLOW, {"embeddings/model": "dino"}, asked) is None
