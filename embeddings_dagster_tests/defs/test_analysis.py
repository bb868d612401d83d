"""The analyses in Dagster: one job makes them all, shows pictures of bounded size, and its checks say what is wrong."""

import base64
import re
from pathlib import Path

import dagster as dg
import pytest
import yaml

from embeddings_dagster.defs.build import project_defs
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.settings import load_settings
from embeddings_dagster.stages.analysis_pictures import newest_index
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.duplicates import load_clusters
from embeddings_dagster.stages.embed import run_embed
from embeddings_dagster.stages.index import refresh_index
from embeddings_dagster.stages.raw import run_raw
from embeddings_dagster.stages.rgb import run_rgb

ASSETS = ("near_duplicates", "embedding_map", "dino_canaries")


@pytest.fixture
def indexed(project: Project, stage: StageContext, looks_at_once: None, tmp_path: Path) -> Project:
    """Six pictures in an index, two of them the same."""
    (tmp_path / "pics" / "001.png").write_bytes((tmp_path / "pics" / "000.png").read_bytes())
    for key in sorted(discover(stage, "pics", wait=True).manifest.batches):
        run_raw(stage, key)
        run_rgb(stage, key)
        run_embed(stage, "dino", project.settings.models["dino"], project.engine, key)
    refresh_index(stage, "dino")
    return project


def analyse(project: Project, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    job = project_defs(project).resolve_job_def("analyse")
    return job.execute_in_process(instance=instance, raise_on_error=False)


def shown(instance: dg.DagsterInstance, asset: str) -> dict[str, object]:
    [record] = instance.fetch_materializations(dg.AssetKey(asset), limit=1).records
    assert record.asset_materialization is not None
    return {name: value.value for name, value in record.asset_materialization.metadata.items()}


def test_one_run_makes_everything_and_the_next_writes_nothing(indexed: Project, instance: dg.DagsterInstance) -> None:
    result = analyse(indexed, instance)
    assert result.success
    assert [(each.check_name, each.passed) for each in result.get_asset_check_evaluations()] == [("no_drift", True)]
    duplicates = shown(instance, "near_duplicates")
    assert (duplicates["generation"], duplicates["copies"], duplicates["dagster/row_count"]) == (1, 1, 2)
    assert load_clusters(indexed.store) == dict.fromkeys(["pics:000.png", "pics:001.png"], "pics:000.png")
    assert shown(instance, "dino_canaries")["recorded"] is True
    for asset, name in (("near_duplicates", "contact_sheet"), ("embedding_map", "map")):
        markdown = str(shown(instance, asset)[name])
        assert len(markdown) <= 300_000
        found = re.fullmatch(r"!\[[\w ]+\]\(data:image/jpeg;base64,(.*)\)", markdown)
        assert found
        assert base64.b64decode(found[1]).startswith(b"\xff\xd8")
    root = Path(indexed.store.root) / "analysis"
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    assert analyse(indexed, instance).success
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == before
    assert shown(instance, "dino_canaries")["recorded"] is False


def test_before_any_picture_was_indexed_it_succeeds_and_makes_nothing(
    project: Project, instance: dg.DagsterInstance
) -> None:
    assert analyse(project, instance).success
    assert load_clusters(project.store) is None
    assert newest_index(project.store, "dino") is None


def test_drift_fails_the_check_and_not_the_run(
    indexed: Project, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyse(indexed, instance)
    from embeddings_dagster.stages import canaries

    real = canaries.encode
    monkeypatch.setattr(canaries, "encode", lambda *given: (real(*given)[0][::-1].copy(), real(*given)[1]))
    result = analyse(indexed, instance)
    assert result.success
    [check] = result.get_asset_check_evaluations()
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert "drifted: 16 of 16 canaries are below 0.999" in (check.description or "")


def test_groups_are_checked_where_a_source_has_some(indexed: Project, tmp_path: Path) -> None:
    def check_of(project: Project) -> dg.AssetChecksDefinition | None:
        checks = project_defs(project).asset_checks or ()
        return next((each for each in checks if [spec.name for spec in each.check_specs] == ["groups_cohere"]), None)

    assert check_of(indexed) is None
    document = yaml.safe_load((tmp_path / "embeddings.yaml").read_text())
    document["sources"]["pics"]["groups"] = {"file": "groups.csv"}
    (tmp_path / "embeddings.yaml").write_text(yaml.safe_dump(document))
    (tmp_path / "groups.csv").write_text("id,group\n000,same\n001,same\n002,a\n003,b\n004,c\n")
    check = check_of(Project(load_settings(tmp_path / "embeddings.yaml")))
    assert check is not None
    [spec] = check.check_specs
    assert spec.asset_key == dg.AssetKey("dino_index")
    found = check()  # type: ignore[operator]
    assert found.passed, found.description
    assert found.severity == dg.AssetCheckSeverity.WARN
    (tmp_path / "groups.csv").unlink()
    assert "groups.csv cannot be read" in check().description  # type: ignore[operator]


def test_without_models_there_are_no_analyses(tmp_path: Path) -> None:
    (tmp_path / "embeddings.yaml").write_text("models: {}\n")
    definitions = project_defs(Project(load_settings(tmp_path / "embeddings.yaml")))
    assert not any(asset.key.to_user_string() in ASSETS for asset in definitions.assets or ())
