"""The catalogue in Dagster: made by a run, checked, asked for when it lags behind, one refresh at a time."""

import dagster as dg
import pytest

from embeddings_dagster.defs.build import project_defs
from embeddings_dagster.defs.catalog import catalog_request
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.defs.sensors import FOLLOW_EMBEDDINGS
from embeddings_dagster.stages.catalog import CatalogReport, refresh_catalog
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster_tests.defs.ticking import Ticking

ASSET = dg.AssetKey("search_catalog")


@pytest.fixture
def found(stage: StageContext, looks_at_once: None) -> list[str]:
    """Batches that have come as far as raw_images."""
    keys = sorted(discover(stage, "pics", wait=True).manifest.batches)
    for key in keys:
        run_raw(stage, key)
    return keys


def materialise(project: Project, instance: dg.DagsterInstance, **config: object) -> dg.ExecuteInProcessResult:
    job = project_defs(project).resolve_job_def("refresh_indexes")
    ops = {"ops": {"search_catalog": {"config": config}}} if config else {}
    return job.execute_in_process(run_config=ops, instance=instance, asset_selection=[ASSET], raise_on_error=False)


def test_a_run_makes_it_and_shows_what_it_did(found: list[str], project: Project, instance: dg.DagsterInstance) -> None:
    assert materialise(project, instance).success
    [record] = instance.fetch_materializations(ASSET, limit=1).records
    event = record.asset_materialization
    assert event is not None
    shown = {name: value.value for name, value in event.metadata.items()}
    assert shown["dagster/row_count"] == shown["rows"] == shown["inserted"] == 6
    assert (shown["generation"], shown["changed"], event.tags["dagster/data_version"]) == (1, True, "1")
    assert materialise(project, instance, force=True).success
    assert catalog_request(instance, project) is None


def test_its_checks_say_what_is_wrong(
    found: list[str], stage: StageContext, project: Project, instance: dg.DagsterInstance
) -> None:
    refresh_catalog(stage)
    for stale in (False, True):
        if stale:
            project.store.files.delete_folder(f"raw_images/{found[0]}")
        for check in project_defs(project).asset_checks or ():
            [spec] = check.check_specs
            if spec.asset_key == ASSET:
                assert check().passed != stale, spec.name  # type: ignore[operator]


def test_a_refresh_is_asked_for_once_when_it_lags_behind(
    found: list[str], stage: StageContext, project: Project, instance: dg.DagsterInstance
) -> None:
    following = Ticking(project, instance, FOLLOW_EMBEDDINGS)
    [key] = following()
    assert key.startswith("search_catalog:")
    assert following.requests[0].asset_selection == [ASSET]
    [run] = following.launch()
    assert following() == [], "one refresh at a time"
    instance.report_run_failed(run)
    assert following() == [], "a failed one rests"
    refresh_catalog(stage)
    project.store.files.delete_folder(f"raw_images/{found[0]}")
    [other] = following()
    assert other != key


def test_a_damaged_manifest_is_named_and_asks_for_nothing(
    found: list[str], stage: StageContext, project: Project, instance: dg.DagsterInstance
) -> None:
    refresh_catalog(stage)
    with project.store.files.writing("catalog/manifests/00000001.json") as handle:
        handle.write(b"{}")
    following = Ticking(project, instance, FOLLOW_EMBEDDINGS)
    assert following() == []
    assert "search_catalog: CorruptFile" in following.skipped
    failed = materialise(project, instance)
    assert not failed.success


def test_who_watches_is_told(found: list[str], project: Project, instance: dg.DagsterInstance) -> None:
    told: list[CatalogReport] = []
    watched = Project(project.settings, watch=type(project.watch)(catalog=told.append))
    assert materialise(watched, instance).success
    assert [(each.changed, each.rows) for each in told] == [(True, 6)]
