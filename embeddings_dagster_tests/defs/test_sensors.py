"""The sensors, tick by tick, on a real instance and a real store."""

import os
import threading
from pathlib import Path

import dagster as dg
import pytest

from embeddings_dagster.defs.partitions import add_keys, known_keys
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.defs.sensors import FOLLOW_EMBEDDINGS
from embeddings_dagster.engines import LocalEngine
from embeddings_dagster.stages.catalog import refresh_catalog
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.embed import run_embed
from embeddings_dagster.stages.index import refresh_index
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.stages.rgb import run_rgb
from embeddings_dagster_tests.defs.making import make_picture, make_pictures, make_settings
from embeddings_dagster_tests.defs.ticking import Ticking


@pytest.fixture
def ticking(project: Project, instance: dg.DagsterInstance, looks_at_once: None) -> Ticking:
    return Ticking(project, instance)


def test_new_batches_get_partitions_and_runs_once_their_files_have_settled(
    ticking: Ticking, project: Project, instance: dg.DagsterInstance
) -> None:
    assert ticking() == []
    assert known_keys(instance) == set(), "one look at a file is none"
    assert "none wants a run now" in ticking.skipped
    assert ticking() == ["pics__000001:2:0", "pics__000002:2:0", "pics__000003:2:0"]
    assert known_keys(instance) == {"pics__000001", "pics__000002", "pics__000003"}
    assert {request.tags["dagster/partition"] for request in ticking.requests} == known_keys(instance)


def test_a_batch_that_is_done_is_not_asked_for_and_a_changed_one_is(
    ticking: Ticking, stage: StageContext, project: Project, tmp_path: Path
) -> None:
    for key in sorted(discover(stage, "pics", wait=True).manifest.batches):
        run_raw(stage, key)
    assert ticking() == []
    make_picture(tmp_path / "pics" / "002.png", 77)
    ticking()
    assert ticking() == ["pics__000002:2:0"]


def test_a_change_that_comes_back_runs_again(
    ticking: Ticking, stage: StageContext, project: Project, tmp_path: Path
) -> None:
    """A→B→A: the state is the first one again, and its first run key was used up."""
    picture = tmp_path / "pics" / "000.png"
    first = (picture.read_bytes(), picture.stat())
    asked = []
    for step in range(3):
        if step == 1:
            make_picture(picture, 99)
        if step == 2:
            picture.write_bytes(first[0])
            os.utime(picture, ns=(first[1].st_atime_ns, first[1].st_mtime_ns))
        ticking()
        asked += [key for key in ticking() if key.startswith("pics__000001")]
        ticking.launch(dg.DagsterRunStatus.SUCCESS)
        for key in ("pics__000001", "pics__000002", "pics__000003"):
            run_raw(stage, key)
    assert asked == ["pics__000001:2:0", "pics__000001:3:0", "pics__000001:4:0"]


def test_a_failed_run_is_asked_for_again_but_not_at_once(
    project: Project, instance: dg.DagsterInstance, looks_at_once: None, tmp_path: Path
) -> None:
    resting = Ticking(project, instance)
    resting()
    assert len(resting()) == 3
    first = resting.launch()[0]
    instance.report_run_failed(first)
    assert resting() == [], "the failed one rests for a minute, the others are under way"
    hasty = Ticking(Project(make_settings(tmp_path, retry_seconds=0)), instance)
    assert hasty() == ["pics__000001:2:1"]


def test_a_run_that_failed_after_raw_was_committed_is_asked_for_again(
    instance: dg.DagsterInstance, looks_at_once: None, tmp_path: Path
) -> None:
    make_pictures(tmp_path / "pics", 2)
    project = Project(make_settings(tmp_path, retry_seconds=0))
    ticking = Ticking(project, instance)
    ticking()
    assert ticking() == ["pics__000001:2:0"]
    (run,) = ticking.launch()
    run_raw(project.stage_context("r", print, threading.Event()), "pics__000001")
    instance.report_run_failed(run)
    assert ticking() == ["pics__000001:2:1"]
    ticking.launch(dg.DagsterRunStatus.SUCCESS)
    assert ticking() == []


def test_a_tick_asks_for_no_more_runs_than_the_settings_say(
    instance: dg.DagsterInstance, looks_at_once: None, tmp_path: Path
) -> None:
    make_pictures(tmp_path / "pics", 10)
    ticking = Ticking(Project(make_settings(tmp_path, sensor_batches=2)), instance)
    ticking()
    assert ticking() == ["pics__000001:2:0", "pics__000002:2:0"]
    assert len(known_keys(instance)) == 5, "partitions are cheap, and show at once"
    ticking.launch()
    assert ticking() == ["pics__000003:2:0", "pics__000004:2:0"]


def test_a_new_daemon_loses_nothing_and_runs_nothing_twice(
    ticking: Ticking, project: Project, instance: dg.DagsterInstance
) -> None:
    ticking()
    assert len(ticking()) == 3
    ticking.launch()
    fresh = Ticking(project, instance)
    assert fresh() == []
    for run in instance.get_runs():
        instance.report_run_canceled(run)
    assert fresh() == [], "canceled by hand: its key was used up"


def test_a_source_that_cannot_be_read_is_named_and_costs_the_others_nothing(
    instance: dg.DagsterInstance, looks_at_once: None, tmp_path: Path
) -> None:
    make_pictures(tmp_path / "pics", 2)
    ticking = Ticking(Project(make_settings(tmp_path, sources=("gone", "pics"))), instance)
    ticking()
    assert "source gone: SourceError" in ticking.skipped
    assert ticking() == ["pics__000001:2:0"]


def test_a_removed_batch_is_run_then_left_by_the_index_and_then_its_key_goes(
    ticking: Ticking, stage: StageContext, project: Project, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    def line(key: str) -> None:
        run_raw(stage, key)
        run_rgb(stage, key)
        run_embed(stage, "dino", project.settings.models["dino"], LocalEngine(), key)

    keys = sorted(discover(stage, "pics", wait=True).manifest.batches)
    add_keys(instance, keys)
    for key in keys:
        line(key)
    refresh_index(stage, "dino")
    refresh_catalog(stage)
    for name in ("000", "001"):
        (tmp_path / "pics" / f"{name}.png").unlink()
    assert ticking() == ["pics__000001:2:0"]
    assert "pics__000001" in known_keys(instance)
    ticking.launch(dg.DagsterRunStatus.SUCCESS)
    line("pics__000001")
    assert ticking() == []
    assert "pics__000001" in known_keys(instance), "the index and the catalogue still hold its rows"
    following = Ticking(project, instance, FOLLOW_EMBEDDINGS)
    assert len(following()) == 2
    refresh_index(stage, "dino")
    assert ticking() == []
    assert "pics__000001" in known_keys(instance), "the catalogue still holds its rows"
    refresh_catalog(stage)
    assert following() == []
    assert ticking() == []
    assert known_keys(instance) == {"pics__000002", "pics__000003"}
    assert ticking() == [], "and it does not come back"
    assert known_keys(instance) == {"pics__000002", "pics__000003"}


def test_an_index_is_refreshed_for_what_it_has_not_taken_in_one_run_at_a_time(
    stage: StageContext, project: Project, instance: dg.DagsterInstance, looks_at_once: None
) -> None:
    following = Ticking(project, instance, FOLLOW_EMBEDDINGS)
    assert following() == []
    assert following.skipped == "every index is current"
    discover(stage, "pics", wait=True)
    for key in ("pics__000001", "pics__000002"):
        run_raw(stage, key)
        run_rgb(stage, key)
    refresh_catalog(stage)
    run_embed(stage, "dino", project.settings.models["dino"], LocalEngine(), "pics__000001")
    (asked,) = following()
    assert asked.startswith("dino:")
    assert following.requests[0].asset_selection == [dg.AssetKey("dino_index")]
    (run,) = following.launch()
    run_embed(stage, "dino", project.settings.models["dino"], LocalEngine(), "pics__000002")
    assert following() == [], "one refresh at a time"
    instance.report_run_canceled(run)
    (again,) = following()
    assert again != asked
    refresh_index(stage, "dino")
    assert following() == []


def test_a_source_that_was_taken_out_or_moved_in_the_file_is_left_alone_until_the_settings_are_read_again(
    instance: dg.DagsterInstance, looks_at_once: None, tmp_path: Path
) -> None:
    """Else a daemon that nobody restarted would bring back what `embeddings forget` has just erased."""
    for name in ("kept", "forgotten", "moved"):
        make_pictures(tmp_path / name, 2)
    before = Ticking(Project(make_settings(tmp_path, sources=("kept", "forgotten", "moved"))), instance)
    elsewhere = {"moved": {"kind": "folder", "path": "kept"}}
    make_settings(tmp_path, sources=("kept",), more_sources=elsewhere)
    before()
    assert before() == ["kept__000001:2:0"]
    assert known_keys(instance) == {"kept__000001"}
    assert before.project.store.sources() == ["kept"]
    before.launch()
    assert before() == []
    for name in ("forgotten", "moved"):
        assert f"source {name}: it is not as Dagster read it in embeddings.yaml any more; reload" in before.skipped
    for half_written in ("sources: [", "sources: kept"):
        (tmp_path / "embeddings.yaml").write_text(half_written)
        before()
        assert "any more" not in before.skipped, "in the middle of an edit nothing is concluded"
