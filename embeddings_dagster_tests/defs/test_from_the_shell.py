"""Dagster's own commands, as a newcomer types them, in a fresh folder and a fresh instance, without a daemon."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

import embeddings_dagster
from embeddings_dagster.defs.partitions import add_keys
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.stages.discover import discover
from embeddings_dagster_tests.defs.dagster_cli import Cli, ended, until
from embeddings_dagster_tests.defs.making import make_pictures, make_settings

PACKAGE = Path(embeddings_dagster.__file__).parent
AT_ONCE = "run_coordinator:\n  module: dagster._core.run_coordinator\n  class: DefaultRunCoordinator\n"
LONG = 42.0
LIGHT = """
import sys
from pathlib import Path
import dagster as dg
import embeddings_dagster.definitions as module
from embeddings_dagster.settings import load_settings
defs = module.build_defs(load_settings(Path(sys.argv[1])))
repository = defs.get_repository_def()
Path(sys.argv[2]).mkdir()
with dg.DagsterInstance.local_temp(sys.argv[2]) as instance:
    instance.get_dynamic_partitions("image_batches")
    for name in ("follow_sources", "follow_embeddings"):
        context = dg.SensorEvaluationContext(
            instance_ref=instance.get_ref(), instance=instance, repository_def=repository
        )
        repository.get_sensor_def(name).evaluate_tick(context)
heavy = {"torch", "transformers", "faiss", "openvino", "tokenizers"} & set(sys.modules)
sys.exit(f"loaded: {sorted(heavy)}" if heavy else 0)
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """A clone without settings: the files Dagster's commands read, and the package."""
    for name in ("pyproject.toml", "workspace.yaml"):
        shutil.copy(PACKAGE.parent / name, tmp_path / name)
    (tmp_path / "embeddings_dagster").symlink_to(PACKAGE)
    opened = Cli(tmp_path, AT_ONCE)
    yield opened
    opened.close()


def test_a_fresh_clone_without_settings_is_valid(cli: Cli) -> None:
    checking = cli.start("dg", "check", "defs", log="check")
    assert "Validation successful" in cli.run("dagster", "definitions", "validate", "-w", "workspace.yaml")
    assert checking.wait(timeout=120) == 0, cli.log("check")


def test_a_mistake_in_the_settings_is_one_readable_error(cli: Cli) -> None:
    (cli.root / "embeddings.yaml").write_text("sources:\n  pics:\n    kind: folder\n    pfad: pics\n")
    out = cli.run("dagster", "definitions", "validate", "-w", "workspace.yaml", fails=True)
    assert "SettingsError: embeddings.yaml:2: sources.pics.path: is needed; add it\n" in out
    assert "embeddings.yaml:4: sources.pics.pfad: unknown key" in out
    assert "During handling of the above exception" not in out


def test_definitions_partitions_and_sensors_load_nothing_heavy(tmp_path: Path) -> None:
    make_pictures(tmp_path / "pics", 2)
    make_settings(tmp_path)
    command = [sys.executable, "-W", "ignore", "-c", LIGHT, str(tmp_path / "embeddings.yaml"), str(tmp_path / "home")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_three_ways_to_launch_without_a_daemon(cli: Cli) -> None:
    """One of them lasts longer than 40 seconds: another writer has its batch for so long."""
    make_pictures(cli.root / "pics", 6)
    project = Project(make_settings(cli.root))
    found = discover(project.stage_context("by-hand", print, threading.Event()), "pics", wait=True)
    with cli.instance() as instance:
        add_keys(instance, found.manifest.batches)
        with project.store.lock("raw_images/pics__000001"):
            tags = '{"dagster/partition": "pics__000001"}'
            cli.run("dagster", "job", "launch", "-w", "workspace.yaml", "-j", "embed_batches", "--tags", tags)
            (long,) = instance.get_runs()
            until(lambda: instance.get_run_by_id(long.run_id).status == dg.DagsterRunStatus.STARTED, "the run starts")
            started = time.monotonic()
            of = ["-m", "embeddings_dagster.definitions", "--partition", "pics__000002"]
            cli.run("dagster", "asset", "materialize", "--select", "raw_images,rgb_images", *of)
            cli.run("dg", "launch", "--assets", "raw_images,rgb_images", "--partition", "pics__000003")
            time.sleep(max(0.0, LONG - (time.monotonic() - started)))
            assert not instance.get_run_by_id(long.run_id).is_finished
        assert ended(instance, long.run_id).is_success
        record = instance.get_run_record_by_id(long.run_id)
        assert record.end_time - record.start_time > 40
        assert {run.status for run in instance.get_runs()} == {dg.DagsterRunStatus.SUCCESS}
        rgb = instance.fetch_materializations(dg.AssetKey("rgb_images"), limit=10).records
        assert {each.partition_key for each in rgb} == {"pics__000001", "pics__000002", "pics__000003"}
        assert instance.get_materialized_partitions(dg.AssetKey("dino_embeddings")) == {"pics__000001"}
