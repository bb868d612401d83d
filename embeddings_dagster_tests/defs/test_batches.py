"""What a step does with its batches' errors: who is tried again, who is not, and what is said."""

from pathlib import Path

import dagster as dg
import pytest

from embeddings_dagster.defs.batches import heals
from embeddings_dagster.defs.build import project_defs
from embeddings_dagster.defs.config import EncodeConfig
from embeddings_dagster.defs.jobs import report
from embeddings_dagster.defs.partitions import known_keys
from embeddings_dagster.defs.resources import Project, gpus
from embeddings_dagster.errors import (
    CommitConflict,
    CorruptFile,
    DecodeFailed,
    DeviceUnavailable,
    EncodeFailed,
    ReadFailed,
    SettingsError,
)
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster_tests.defs.making import make_pictures, make_settings


@pytest.mark.parametrize("error", [CommitConflict("x"), OSError("x"), EncodeFailed("x"), ReadFailed("x")])
def test_what_may_heal_is_tried_again(error: Exception) -> None:
    assert heals(error)


@pytest.mark.parametrize(
    "error", [SettingsError("x"), DeviceUnavailable("x"), CorruptFile("x"), DecodeFailed("x"), ValueError("x")]
)
def test_what_somebody_has_to_mend_is_not(error: Exception) -> None:
    assert not heals(error)


def materialise(project: Project, instance: dg.DagsterInstance, **config: object) -> dg.ExecuteInProcessResult:
    instance.add_dynamic_partitions("image_batches", ["pics__000001"])
    job = project_defs(project).resolve_job_def("embed_batches")
    ops = {"dino_embeddings": {"config": config}} if config else {}
    return job.execute_in_process(
        instance=instance, partition_key="pics__000001", run_config={"ops": ops}, raise_on_error=False
    )


def test_materialising_raw_images_reads_its_source_again(project: Project, instance: dg.DagsterInstance) -> None:
    """Nobody looked before: the step looks, waits for the second look, and adds the partitions it finds."""
    result = materialise(project, instance)
    assert result.success
    assert known_keys(instance) == {"pics__000001", "pics__000002", "pics__000003"}
    event = result.asset_materializations_for_node("raw_images")[0]
    values = {name: value.value for name, value in event.metadata.items()}
    assert (values["total"], values["processed"], values["skipped"], values["failed"]) == (2, 2, 0, 0)
    assert event.tags["dagster/data_version"] == values["content"]
    evaluations = result.get_asset_check_evaluations()
    assert {each.check_name for each in evaluations} == {"counts_reconcile", "rgb_only", "vectors_sound"}
    assert all(each.passed for each in evaluations)


def test_a_source_that_is_gone_fails_once_and_says_why(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    result = materialise(Project(make_settings(tmp_path)), instance)
    failure = result.failure_data_for_node("raw_images")
    assert "SourceError: source 'pics'" in failure.user_failure_data.description
    assert not result.retry_attempts_for_node("raw_images")


def test_a_wrong_run_config_fails_once_and_names_the_key(project: Project, instance: dg.DagsterInstance) -> None:
    result = materialise(project, instance, batch_size=0)
    failure = result.failure_data_for_node("dino_embeddings")
    assert (
        "SettingsError: run config batch_size: 0 is neither a number from 1 to 4096 nor"
        in failure.user_failure_data.description
    )


def test_a_failed_picture_is_a_row_of_the_failure_table_and_no_failed_run(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    make_pictures(tmp_path / "pics", 1)
    (tmp_path / "pics" / "broken.png").write_bytes((tmp_path / "pics" / "000.png").read_bytes()[:40])
    result = materialise(Project(make_settings(tmp_path)), instance)
    assert result.success
    failed = [
        record.data["image"]
        for asset in ("raw_images", "rgb_images")
        for event in result.asset_materializations_for_node(asset)
        if "failures" in event.metadata
        for record in event.metadata["failures"].records
    ]
    assert failed == ["pics:broken.png"]


def test_run_config_goes_over_the_settings() -> None:
    model = ModelSettings(kind="dino", model="bundled:dino", device="cpu", batch_size=8)
    assert EncodeConfig().applied_to(model) == model
    assert EncodeConfig(device="cuda:1", batch_size=4).applied_to(model).device == "cuda:1"
    with pytest.raises(SettingsError, match="run config device"):
        EncodeConfig(device="tpu").applied_to(model)
    with pytest.raises(SettingsError, match=r"^run config: OpenVINO .* set device to auto or cpu$"):
        EncodeConfig(device="cuda").applied_to(model.model_copy(update={"backend": "openvino"}))


def test_the_gpu_pool_counts_visible_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    assert gpus() == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert gpus() == 1


def test_discover_by_hand_adds_partitions_and_launches_nothing(project: Project, instance: dg.DagsterInstance) -> None:
    job = project_defs(project).resolve_job_def("discover")
    assert job.execute_in_process(instance=instance).success
    assert known_keys(instance) == {"pics__000001", "pics__000002", "pics__000003"}
    assert {run.job_name for run in instance.get_runs()} == {"discover"}
    config = {"ops": {"look_at_sources": {"config": {"source": "nowhere"}}}}
    result = job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)
    assert "no source 'nowhere'" in result.failure_data_for_node("look_at_sources").user_failure_data.description


def test_what_a_look_found_is_said_in_words() -> None:
    assert report([], []) == ["0 partitions added; every batch is as its source"]
    assert report(["a__1"], ["a__1"])[0] == "1 partitions added; 1 batches want a run: a__1"
