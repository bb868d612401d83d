"""The job and the schedule that ask a shop's pictures again: what changed is made anew, and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from embeddings_dagster.defs.build import project_defs
from embeddings_dagster.defs.refresh import REFRESH_CATALOGUES
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.settings import load_settings
from embeddings_dagster.stages import marks as marks_module
from embeddings_dagster_tests.defs.test_schedules import tick as tick_schedule
from embeddings_dagster_tests.defs.ticking import Ticking
from embeddings_dagster_tests.shop import Shop, Versioned, open_shop, status, tiny_png

ROWS = 6  # two a batch


@pytest.fixture
def shop() -> Iterator[Shop]:
    with open_shop() as opened:
        yield opened


@pytest.fixture
def answers(shop: Shop) -> dict[int, Versioned]:
    found = {number: Versioned(tiny_png(number), f'"{number}"') for number in range(ROWS)}
    for number, answer in found.items():
        shop[f"/{number}.png"] = answer
    return found


def make_project(root: Path, shop: Shop, *sources: str, **settings: object) -> Project:
    download = {"private_hosts": [shop.host], "retries": 0}
    document = {
        "batch_images": 2,
        "sources": {name: {"kind": "catalog", "path": f"{name}.csv", "download": download} for name in sources},
        "models": {},
        **settings,
    }
    for name in sources:
        rows = "".join(f"{number},{shop.url(f'/{number}.png')}\n" for number in range(ROWS))
        (root / f"{name}.csv").write_text(f"id,image_url\n{rows}")
    (root / "embeddings.yaml").write_text(yaml.safe_dump(document))
    return Project(load_settings(root / "embeddings.yaml"))


def refresh(project: Project, instance: dg.DagsterInstance, **config: str) -> dg.ExecuteInProcessResult:
    job = project_defs(project).resolve_job_def(REFRESH_CATALOGUES)
    run_config = {"ops": {"ask_for_pictures_again": {"config": config}}}
    return job.execute_in_process(instance=instance, run_config=run_config, raise_on_error=False)


def embed(project: Project, instance: dg.DagsterInstance, requests: list[dg.RunRequest]) -> list[str]:
    """Run what was asked for; returns the batches."""
    job = project_defs(project).resolve_job_def("embed_batches")
    for request in requests:
        assert job.execute_in_process(instance=instance, partition_key=request.partition_key, tags=request.tags).success
    return [str(request.partition_key) for request in requests]


def made(project: Project, source: str) -> dict[str, str]:
    """By image: the hash of the bytes that raw_images saw, and what rgb_images made of it."""
    found: dict[str, str] = {}
    for number in range(1, ROWS // 2 + 1):
        for dataset, column in (("raw_images", "sha256"), ("rgb_images", "image")):
            chain = project.store.chain(dataset, f"{source}__{number:06}")
            for row in chain.rows(chain.latest(), ["image_id", column]).to_pylist():
                found[f"{dataset} {row['image_id']}"] = str(row[column])
    return found


def test_a_picture_that_changed_in_the_shop_is_found_by_the_sensor_and_made_anew(
    tmp_path: Path,
    shop: Shop,
    answers: dict[int, Versioned],
    instance: dg.DagsterInstance,
    looks_at_once: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(marks_module, "SMALL", 0)  # the catalogue is left alone while it looks as remembered
    project = make_project(tmp_path, shop, "shop")
    ticking = Ticking(project, instance)
    ticking()
    batches = embed(project, instance, ticking.requests_now())
    assert batches == ["shop__000001", "shop__000002", "shop__000003"]
    before = made(project, "shop")

    assert refresh(project, instance).success
    assert ticking() == [], "nothing changed"
    assert shop.counts == {f"/{number}.png": 2 for number in range(ROWS)}

    answers[3].set(tiny_png(103), '"103"')
    shop["/0.png"] = status(404)
    assert refresh(project, instance, source="shop").success
    assert shop.counts.total() == 3 * ROWS
    assert ticking() == [], "the catalogue is not left alone, and its change is seen for the first time"
    requests = ticking.requests_now()
    nightly = tick_schedule(project, instance, "reconcile_batches").run_requests or ()
    assert [each.partition_key for each in nightly] == ["shop__000002"]
    assert embed(project, instance, requests) == ["shop__000002"]
    after = made(project, "shop")
    assert {key for key in after if after[key] != before[key]} == {"raw_images shop:3", "rgb_images shop:3"}
    assert after.keys() == before.keys(), "a picture that vanished keeps its last good bytes"
    assert shop.counts.total() == 3 * ROWS, "what a refresh fetched is not fetched again"
    assert ticking() == []


def test_a_catalogue_that_cannot_be_read_fails_the_job_and_costs_the_others_nothing(
    tmp_path: Path, shop: Shop, answers: dict[int, Versioned], instance: dg.DagsterInstance, looks_at_once: None
) -> None:
    project = make_project(tmp_path, shop, "lost", "shop")
    (tmp_path / "lost.csv").unlink()
    ticking = Ticking(project, instance)
    ticking()
    embed(project, instance, ticking.requests_now())
    result = refresh(project, instance)
    assert not result.success
    [failure] = [each for each in result.all_events if each.is_step_failure]
    description = failure.step_failure_data.user_failure_data.description
    assert "source lost: SourceError: " in description
    assert "lost.csv' does not exist; mount or create it" in description
    assert shop.counts == {f"/{number}.png": 2 for number in range(ROWS)}


def test_a_source_that_is_not_there_is_named(tmp_path: Path, shop: Shop, instance: dg.DagsterInstance) -> None:
    result = refresh(make_project(tmp_path, shop, "shop"), instance, source="shpo")
    [failure] = [each for each in result.all_events if each.is_step_failure]
    assert "no source 'shpo' in the settings (there: shop)" in failure.step_failure_data.user_failure_data.description


def test_a_source_that_is_no_catalogue_is_refused(project: Project, instance: dg.DagsterInstance) -> None:
    """Else the job would succeed, and its owner believe that something had been asked for."""
    (name,) = project.settings.sources
    result = refresh(project, instance, source=name)
    [failure] = [each for each in result.all_events if each.is_step_failure]
    description = failure.step_failure_data.user_failure_data.description
    assert f"source '{name}' is no catalogue, its pictures have no addresses (catalogues: none)" in description


def test_the_schedule_asks_for_the_job_and_is_not_there_without_a_catalogue(
    tmp_path: Path, shop: Shop, instance: dg.DagsterInstance, project: Project
) -> None:
    with_catalogue = make_project(tmp_path, shop, "shop", dagster={"refresh_cron": "5 4 * * 3"})
    schedule = project_defs(with_catalogue).get_repository_def().get_schedule_def(REFRESH_CATALOGUES)
    assert (schedule.cron_schedule, schedule.default_status) == ("5 4 * * 3", dg.DefaultScheduleStatus.RUNNING)
    [request] = tick_schedule(with_catalogue, instance, REFRESH_CATALOGUES).run_requests
    assert request.partition_key is None
    assert not project_defs(project).get_repository_def().has_schedule_def(REFRESH_CATALOGUES)
