import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
from dagster._core.definitions.partitions.context import partition_loading_context

from embeddings_dagster.defs.build import project_defs
from embeddings_dagster.defs.partitions import known_keys
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.settings_sources import ScrapedSource
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.stages.rgb import run_rgb


def tick(project: Project, instance: dg.DagsterInstance, name: str):
    repository = project_defs(project).get_repository_def()
    moment = datetime(2026, 1, 1, 3, tzinfo=UTC)
    context = dg.build_schedule_context(instance, scheduled_execution_time=moment, repository_def=repository)
    with partition_loading_context(dynamic_partitions_store=instance):
        return repository.get_schedule_def(name).evaluate_tick(context)


def test_batches_that_are_not_current_at_every_stage_are_asked_for(
    project: Project, stage: StageContext, instance: dg.DagsterInstance, looks_at_once: None
) -> None:
    discover(stage, "pics", wait=True)
    for key in ("pics__000001", "pics__000002", "pics__000003"):
        run_raw(stage, key)  # so the sensor sees nothing to do
    result = tick(project, instance, "reconcile_batches")
    assert [request.partition_key for request in result.run_requests] == [
        "pics__000001",
        "pics__000002",
        "pics__000003",
    ]
    assert known_keys(instance) == {"pics__000001", "pics__000002", "pics__000003"}
    job = project_defs(project).resolve_job_def("embed_batches")
    tags = {"dagster/partition": "pics__000002"}
    instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.NOT_STARTED)
    again = tick(project, instance, "reconcile_batches")
    assert [request.partition_key for request in again.run_requests] == ["pics__000001", "pics__000003"]


def test_a_batch_whose_failures_may_heal_is_asked_for_again(
    instance: dg.DagsterInstance, stage: StageContext, looks_at_once: None, tmp_path: Path
) -> None:
    batch = tmp_path / "scraped" / "batch_20260101_000000"
    batch.mkdir(parents=True)
    item = {"item_id": "1", "title": "lost", "price": 1, "url": "u", "local_image_paths": ["images/1/0.jpg"]}
    (batch / "batch.json").write_text(json.dumps({"items": [item]}))
    source = ScrapedSource(kind="scraped", path=tmp_path / "scraped")
    settings = stage.settings.model_copy(update={"sources": {"fashion": source}, "models": {}})
    project, stage = Project(settings), replace(stage, settings=settings)
    [key] = discover(stage, "fashion", wait=True).batches_changed
    assert run_raw(stage, key).failed == 1
    run_rgb(stage, key)
    assert [each.partition_key for each in tick(project, instance, "reconcile_batches").run_requests] == [key]
    (batch / "batch.json").write_text(json.dumps({"items": [{**item, "local_image_paths": [None]}]}))
    discover(stage, "fashion", wait=True)
    assert run_raw(stage, key).failed == 1
    run_rgb(stage, key)
    assert tick(project, instance, "reconcile_batches").skip_message == "every batch is current", "it cannot heal"


def test_nothing_is_asked_for_when_all_is_current(instance: dg.DagsterInstance, settings, tmp_path: Path) -> None:
    project = Project(settings.model_copy(update={"sources": {}}))
    assert tick(project, instance, "reconcile_batches").skip_message == "every batch is current"
    assert tick(project, instance, "reconcile_indexes").skip_message == "every index is current"
