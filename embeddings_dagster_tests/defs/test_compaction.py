"""The compaction's job, schedule and sensor: one run at a time, asked for where something is due, and why not."""

from pathlib import Path

import dagster as dg
import pytest

from embeddings_dagster.defs.build import project_defs
from embeddings_dagster.defs.compaction import COMPACT_INDEXES, FOLLOW_SEGMENTS
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.engines import LocalEngine
from embeddings_dagster.index import Generations
from embeddings_dagster.settings import Settings
from embeddings_dagster.stages import compact_plan
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.embed import run_embed
from embeddings_dagster.stages.index import refresh_index
from embeddings_dagster.stages.index_versions import index_release, index_rollback
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.stages.rgb import run_rgb
from embeddings_dagster_tests.defs.making import make_pictures, make_settings
from embeddings_dagster_tests.defs.test_schedules import tick as tick_schedule
from embeddings_dagster_tests.defs.ticking import Ticking


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    make_pictures(tmp_path / "pics", 8)
    return make_settings(tmp_path)


@pytest.fixture
def indexed(stage: StageContext, project: Project, looks_at_once: None) -> Generations:
    """An index of four segments, one for each batch."""
    for key in sorted(discover(stage, "pics", wait=True).manifest.batches):
        run_raw(stage, key)
        run_rgb(stage, key)
        run_embed(stage, "dino", project.settings.models["dino"], LocalEngine(), key)
        refresh_index(stage, "dino")
    return Generations(project.store, "dino", project.identity("dino").fp12)


def segments(generations: Generations) -> list[int]:
    manifest = generations.latest()
    assert manifest is not None
    return [segment.rows for segment in manifest.segments]


def compact(project: Project, instance: dg.DagsterInstance, **config: float) -> dg.ExecuteInProcessResult:
    job = project_defs(project).resolve_job_def(COMPACT_INDEXES)
    run_config = {"ops": {"compact_dino": {"config": config}}}
    return job.execute_in_process(instance=instance, run_config=run_config, raise_on_error=False)


def test_the_job_merges_and_shows_what_it_did(
    indexed: Generations, project: Project, instance: dg.DagsterInstance
) -> None:
    assert segments(indexed) == [2, 2, 2, 2]
    result = compact(project, instance)
    assert result.success
    assert segments(indexed) == [8]
    newest = indexed.latest()
    assert newest is not None
    assert newest.run_id == result.run_id
    [observed] = [each.asset_observation_data.asset_observation for each in result.get_asset_observation_events()]
    said = {name: value.value for name, value in observed.metadata.items()}
    assert observed.asset_key == dg.AssetKey("dino_index")
    assert (said["merges"], said["merged"], said["rows"], said["segments_before"], said["segments_after"]) == (
        1,
        4,
        8,
        4,
        1,
    )
    assert (said["generation"], said["finished"], said["pinned"]) == (5, True, False)
    again = compact(project, instance)
    assert again.success
    assert again.get_asset_observation_events() == []


def test_its_op_waits_in_the_pool_of_the_refreshes(project: Project) -> None:
    job = project_defs(project).resolve_job_def(COMPACT_INDEXES)
    assert {node.name: node.definition.pool for node in job.nodes} == {"compact_dino": "index_dino"}
    assert project.pool_limits()["index_dino"] == 1


def test_a_run_without_time_merges_nothing(
    indexed: Generations, project: Project, instance: dg.DagsterInstance
) -> None:
    assert compact(project, instance, max_seconds=0).success
    assert segments(indexed) == [2, 2, 2, 2]


def test_a_damaged_segment_fails_the_run_and_is_named(
    indexed: Generations, project: Project, instance: dg.DagsterInstance
) -> None:
    newest = indexed.latest()
    assert newest is not None
    path = Path(project.store.root, indexed.path(newest.segments[1].path("vectors.npy")))
    path.write_bytes(b"damage")
    result = compact(project, instance)
    [failure] = [each for each in result.all_events if each.is_step_failure]
    assert newest.segments[1].uuid in failure.step_failure_data.user_failure_data.description
    assert segments(indexed) == [2, 2, 2, 2]


def test_the_schedule_asks_where_something_is_due_one_run_at_a_time(
    indexed: Generations, project: Project, instance: dg.DagsterInstance, stage: StageContext
) -> None:
    [request] = tick_schedule(project, instance, COMPACT_INDEXES).run_requests
    job = project_defs(project).resolve_job_def(COMPACT_INDEXES)
    run = instance.create_run_for_job(job, tags=request.tags, status=dg.DagsterRunStatus.STARTED)
    under_way = tick_schedule(project, instance, COMPACT_INDEXES)
    assert (under_way.run_requests, under_way.skip_message) == (
        [],
        "a compaction is under way, or has failed and rests",
    )
    instance.report_run_failed(run)
    assert tick_schedule(project, instance, COMPACT_INDEXES).run_requests == [], "it rests"
    assert compact(project, instance).success
    assert tick_schedule(project, instance, COMPACT_INDEXES).skip_message == "no index wants a compaction now"
    index_rollback(stage, "dino", 4)
    pinned = tick_schedule(project, instance, COMPACT_INDEXES)
    assert pinned.skip_message == "dino: pinned at generation 6 by a rollback"
    index_release(stage, "dino")
    [again] = tick_schedule(project, instance, COMPACT_INDEXES).run_requests
    assert again.run_key != request.run_key, "it is another generation, and has not been tried"


def test_the_sensor_asks_only_for_what_searches_feel(
    indexed: Generations, project: Project, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    following = Ticking(project, instance, FOLLOW_SEGMENTS)
    assert following() == []
    assert following.skipped == "no index wants a compaction now"
    monkeypatch.setattr(compact_plan, "FAR_OVERFULL", 4)
    [key] = following()
    assert key.startswith("compaction:")
    following.launch(dg.DagsterRunStatus.SUCCESS)
    assert compact(project, instance).success
    assert following() == []


def test_without_models_there_is_nothing_to_ask_for(tmp_path: Path) -> None:
    repository = project_defs(Project(make_settings(tmp_path, models=()))).get_repository_def()
    assert not repository.has_job(COMPACT_INDEXES)
    assert not repository.has_schedule_def(COMPACT_INDEXES)
    assert not repository.has_sensor_def(FOLLOW_SEGMENTS)


def test_a_model_whose_files_are_not_here_is_left_alone(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    settings = make_settings(tmp_path, models=("dino",))
    gone = settings.models["dino"].model_copy(update={"model": str(tmp_path / "nowhere")})
    project = Project(settings.model_copy(update={"models": {"dino": gone}}))
    assert "dino: ModelUnavailable" in (tick_schedule(project, instance, COMPACT_INDEXES).skip_message or "")
    assert compact(project, instance).success
