"""What lost count in the store fails its run in Dagster, by name, and no index takes it in within that run."""

from collections.abc import Callable

import dagster as dg
import pytest

from embeddings_dagster.defs import assets as assets_module
from embeddings_dagster.defs.build import project_defs
from embeddings_dagster.defs.launch import Launcher, Outcome
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.index import Generations
from embeddings_dagster.stages.account import Account
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.rgb import run_rgb
from embeddings_dagster.store import Store
from embeddings_dagster.store.tables import RGB
from embeddings_dagster_tests.stages.toy_engine import ToyEngine

KEYS = ["pics__000001", "pics__000002", "pics__000003"]
HURT = "pics__000002"


@pytest.fixture
def project(settings: object) -> Project:
    return Project(settings, engine_instead=ToyEngine())  # type: ignore[arg-type]


@pytest.fixture
def listed(project: Project, stage: StageContext, looks_at_once: None, instance: dg.DagsterInstance) -> Project:
    """Six pictures in three batches, listed and not made."""
    discover(stage, "pics", wait=True)
    instance.add_dynamic_partitions("image_batches", KEYS)
    return project


def steal(store: Store, batch: str) -> None:
    """Commit a version of `rgb_images` with a row less, whose counts agree with it."""
    chain = store.chain("rgb_images", batch)
    manifest = chain.latest()
    assert manifest is not None
    writer = chain.writer(RGB, run_id="thief", label=manifest.label)
    writer.drop([next(iter(writer.present()))])
    writer.finish(inputs=manifest.inputs, total=manifest.counts.total - 1)


def with_a_thief(batch: str) -> Callable[[StageContext, str], Account]:
    """`run_rgb`, after which a row of one batch is lost."""

    def work(stage: StageContext, key: str) -> Account:
        account = run_rgb(stage, key)
        if key == batch:
            steal(stage.store, key)
        return account

    return work


def launch(project: Project, instance: dg.DagsterInstance) -> list[Outcome]:
    return list(Launcher(project_defs(project), project, instance, print).batches(KEYS))


def everything(project: Project, instance: dg.DagsterInstance, *keys: str) -> dg.DagsterRun:
    """A run of the job of everything over some batches side by side."""
    job = project_defs(project).resolve_job_def("everything")
    where = {"dagster/partition": keys[0]}
    if len(keys) > 1:
        where = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    tags = {**where, "embeddings/discovered": "true"}
    return job.execute_in_process(instance=instance, tags=tags, raise_on_error=False).dagster_run


def generation(project: Project) -> int | None:
    newest = Generations(project.store, "dino", project.identity("dino").fp12).latest()
    return newest.version if newest else None


def test_a_row_lost_after_its_stage_fails_the_run_by_name(
    listed: Project, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(assets_module, "run_rgb", with_a_thief(HURT))
        [outcome] = launch(listed, instance)
    assert (outcome.success, outcome.blocked) == (False, True)
    [problem] = [each for each in outcome.problems if each.startswith("rgb_images_counts_reconcile")]
    assert f"rgb_images of {HURT} lost count: 1 inputs taken, upstream offers 2: pics:00" in problem
    assert "`embeddings run` makes what is missing" in problem
    place = dataset("dino", listed.identity("dino"))
    assert listed.store.chain(place, KEYS[0]).latest().counts.ok == 2, "the others are done"  # type: ignore[union-attr]
    [healed] = launch(listed, instance)
    assert (healed.success, healed.problems) == (True, ())
    assert listed.store.chain(place, HURT).latest().counts.ok == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("keys", [pytest.param([HURT], marks=pytest.mark.torture), KEYS])
def test_no_index_takes_in_what_lost_count_in_the_same_run(
    listed: Project, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, keys: list[str]
) -> None:
    """Dagster sees to it in a run of one batch; in a run of many, the index does."""
    with monkeypatch.context() as broken:
        broken.setattr(assets_module, "run_rgb", with_a_thief(HURT))
        run = everything(listed, instance, *keys)
    assert (run.status, generation(listed)) == (dg.DagsterRunStatus.FAILURE, None)
    run = everything(listed, instance, *keys)
    assert (run.status, generation(listed)) == (dg.DagsterRunStatus.SUCCESS, 1)


def test_a_version_that_is_not_what_its_run_said_fails_the_check(listed: Project, instance: dg.DagsterInstance) -> None:
    """All that the store says of itself agrees; what the run told Dagster does not."""
    assert launch(listed, instance)[0].success
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            "raw_images", partition=HURT,
            metadata={"version": 1, "content": "other", "processed": 3, "skipped": 0, "failed": 0},
        )
    )  # fmt: skip
    result = _counts_of(listed, instance)
    assert not result.passed
    assert f"raw_images of {HURT} lost count: its run said of version 1: 3 rows, 0 failed" in result.description


def test_a_batch_that_was_listed_again_since_it_was_made_has_lost_nothing(
    listed: Project, instance: dg.DagsterInstance, stage: StageContext
) -> None:
    assert launch(listed, instance)[0].success
    (listed.settings.resolve("pics") / "002.png").unlink()
    discover(stage, "pics", wait=True)
    assert _counts_of(listed, instance).passed


def _counts_of(project: Project, instance: dg.DagsterInstance) -> dg.AssetCheckEvaluation:
    definitions = project_defs(project)
    key = dg.AssetCheckKey(dg.AssetKey("raw_images"), "counts_reconcile")
    job = dg.define_asset_job("one_check", selection=dg.AssetSelection.checks(key))
    resolved = dg.Definitions(assets=definitions.assets, asset_checks=definitions.asset_checks, jobs=[job])
    result = resolved.resolve_job_def("one_check").execute_in_process(instance=instance, raise_on_error=False)
    [found] = result.get_asset_check_evaluations()
    return found
