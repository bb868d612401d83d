"""One instance with a running dagster-daemon and dagster-webserver: sensors, a schedule, the queue, GraphQL."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import InstigatorType, TickStatus

from embeddings_dagster.defs.partitions import known_keys
from embeddings_dagster_tests.defs.dagster_cli import Cli, ended, free_port, graphql, until
from embeddings_dagster_tests.defs.making import make_picture, make_settings

KEYS = ["pics__000001", "pics__000002", "pics__000003"]
SCRAPED = "shop__monday"
REPOSITORY = {"repositoryLocationName": "embeddings_dagster.definitions", "repositoryName": "__repository__"}

LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
BACKFILL = """
mutation Backfill($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    for number in range(6):  # the batches hold the same pictures: one run loads the model, the others reuse its vectors
        make_picture(tmp_path / "pics" / f"{number:03}.png", number % 2)
    settings = {"sensor_seconds": 5, "sensor_batches": 1, "retry_seconds": 5, "reconcile_cron": "* * * * *"}
    make_settings(tmp_path, more_sources={"shop": {"kind": "scraped", "path": "shop"}}, **settings)
    make_picture(tmp_path / "shop" / "monday" / "0.png", 0)
    item = {"item_id": "1", "title": "A thing", "price": 1, "url": "u", "local_image_paths": ["0.png"]}
    (tmp_path / "shop" / "monday" / "batch.json").write_text(json.dumps({"items": [item]}))
    opened = Cli(tmp_path)
    yield opened
    opened.close()


def test_sensors_schedule_queue_ui_and_backfill(cli: Cli) -> None:
    cli.start("dagster-daemon", "run", "-w", "workspace.yaml", log="daemon")
    port = free_port()
    cli.start("dagster-webserver", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port), log="webserver")
    with cli.instance() as instance:
        follow_pictures_to_the_index(instance)
        materialise_through_graphql(port, instance)
        backfill_three_batches(port, instance)
        launch_through_the_queue(cli, instance)
        until(lambda: schedule_ticks(instance), "the schedule ticks")
        failed = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
        assert failed == []


def follow_pictures_to_the_index(instance: dg.DagsterInstance) -> None:
    """Nobody asked for anything: the sensors find the pictures, and then the embeddings."""
    index = dg.AssetKey("dino_index")

    def indexed() -> bool:
        events = instance.fetch_materializations(index, limit=1).records
        return bool(events) and events[0].asset_materialization.metadata["dagster/row_count"].value == 7

    until(indexed, "six pictures of the folder and one of the scraped batch are in the index", seconds=240)
    assert known_keys(instance) == {*KEYS, SCRAPED}
    assert instance.get_materialized_partitions(dg.AssetKey("dino_embeddings")) == {*KEYS, SCRAPED}
    runs = reversed(instance.get_runs(dg.RunsFilter(job_name="embed_batches")))  # they come newest first
    asked = list(dict.fromkeys(run.tags["dagster/run_key"].split(":")[0] for run in runs))
    assert asked == [SCRAPED, *KEYS], "a whole scraped batch is taken at once, the files of a folder after two looks"


def materialise_through_graphql(port: int, instance: dg.DagsterInstance) -> None:
    """What the UI's button `Materialize` sends."""

    def ready() -> bool:
        try:
            return bool(graphql(port, "{ version }"))
        except URLError:
            return False

    until(ready, "the webserver answers")
    params = {
        "selector": {**REPOSITORY, "jobName": "__ASSET_JOB", "assetSelection": [{"path": ["raw_images"]}]},
        "mode": "default",
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": KEYS[0]}]},
    }
    answer = graphql(port, LAUNCH, {"params": params})["launchRun"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    assert ended(instance, answer["run"]["runId"]).is_success


def backfill_three_batches(port: int, instance: dg.DagsterInstance) -> None:
    params = {"partitionNames": KEYS, "assetSelection": [{"path": ["rgb_images"]}], "fromFailure": False}
    answer = graphql(port, BACKFILL, {"params": params})["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    backfill = answer["backfillId"]
    until(lambda: instance.get_backfill(backfill).status.value == "COMPLETED_SUCCESS", "the backfill completes")
    runs = instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill}))
    start, end = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
    assert {(run.tags[start], run.tags[end]) for run in runs} == {(key, key) for key in KEYS}
    made = instance.fetch_materializations(dg.AssetKey("rgb_images"), limit=3).records
    assert {record.partition_key for record in made if record.run_id in {run.run_id for run in runs}} == set(KEYS)


def launch_through_the_queue(cli: Cli, instance: dg.DagsterInstance) -> None:
    before = {run.run_id for run in instance.get_runs()}
    tags = f'{{"dagster/partition": "{KEYS[1]}"}}'
    cli.run("dagster", "job", "launch", "-w", "workspace.yaml", "-j", "everything", "--tags", tags)
    new = [run for run in instance.get_runs(dg.RunsFilter(job_name="everything")) if run.run_id not in before]
    assert len(new) == 1
    assert ended(instance, new[0].run_id).is_success


def schedule_ticks(instance: dg.DagsterInstance) -> bool:
    """Whether the schedule that compares every batch has looked, and found what it looked for or nothing to do."""
    states = instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
    looked = [state for state in states if state.instigator_name == "reconcile_batches"]
    ticks = [tick for state in looked for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id)]
    return any(tick.status in (TickStatus.SUCCESS, TickStatus.SKIPPED) for tick in ticks)
