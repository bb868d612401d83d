"""A launch that was killed is noticed by the next run, also by one that has nothing to launch."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from embeddings_dagster.cli.launches import any_traces, hold, in_dead_hands, marked, sweep
from embeddings_dagster.defs import tags
from embeddings_dagster.store import Manifest, Store
from embeddings_dagster_tests.cli.command import run
from embeddings_dagster_tests.cli.conftest import Command

BATCH = "pics__000001"


@dg.job
def some_job() -> None:
    """A job to have runs of."""


@pytest.fixture
def dead_process() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_a_trace_goes_with_the_launch_that_left_it(tmp_path: Path) -> None:
    assert not any_traces(tmp_path)
    with marked(tmp_path):
        assert any_traces(tmp_path)
    assert not any_traces(tmp_path)


def test_only_the_traces_of_the_dead_are_swept(tmp_path: Path, dead_process: int) -> None:
    with marked(tmp_path):
        (tmp_path / "launches" / str(dead_process)).touch()
        (tmp_path / "launches" / "litter").touch()
        sweep(tmp_path)
        assert os.listdir(tmp_path / "launches") == [str(os.getpid())]


def test_a_run_with_nothing_to_do_ends_a_killed_one_and_frees_its_slot(
    project: Path, command: Command, dead_process: int
) -> None:
    home = str(project / ".dagster")
    with dg.DagsterInstance.from_config(home) as instance:
        dead = {tags.HOST: socket.gethostname(), tags.PROCESS: f"{dead_process}:1"}
        run = instance.create_run_for_job(some_job, tags=dead, status=dg.DagsterRunStatus.STARTED)
        instance.event_log_storage.claim_concurrency_slot("gpu", run.run_id, "some_step")
    trace = project / "data" / "cache" / "launches" / str(dead_process)
    trace.parent.mkdir(exist_ok=True)
    trace.touch()

    answer = command("run")

    assert answer.code == 0
    assert run.run_id[:8] in answer.err
    with dg.DagsterInstance.from_config(home) as instance:
        ended = instance.get_run_by_id(run.run_id)
        assert ended is not None
        assert ended.status == dg.DagsterRunStatus.FAILURE
        assert not instance.event_log_storage.get_concurrency_info("gpu").claimed_slots
    assert not any_traces(project / "data" / "cache")


def test_what_a_killed_launch_had_in_hand_is_kept_until_another_has_it(tmp_path: Path, dead_process: int) -> None:
    with marked(tmp_path):
        assert in_dead_hands(tmp_path) is None
        (tmp_path / "launches" / str(dead_process)).write_text("art__000001\nart__000002\n")
        assert in_dead_hands(tmp_path) == {"art__000001", "art__000002"}
        hold(tmp_path, ["art__000001", "art__000002"])
        sweep(tmp_path)
        assert in_dead_hands(tmp_path) is None
        (tmp_path / "launches" / str(os.getpid())).rename(tmp_path / "launches" / str(dead_process))
        assert in_dead_hands(tmp_path) == {"art__000001", "art__000002"}


def test_dagster_hears_of_what_a_killed_run_committed_last(project: Path, command: Command) -> None:
    """The last stage of the batch is committed, its event is not written: the batch is current, and nobody was told."""
    shutil.copy(project / "pics" / "pizza.png", project / "pics" / "pasta.png")
    stages = len(told(project))
    killed = run("run", cwd=project, EMBEDDINGS_KILL_AT=f"batch:done:{stages}")
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    assert command("run").code == 0

    assert told(project) == {
        asset: {"version": manifest.version, "content": manifest.content, "total": manifest.counts.total}
        for asset, manifest in newest(project).items()
    }
    assert '"runs": []' in command("run", "--json").out


def newest(project: Path) -> dict[str, Manifest]:
    """The newest version of the one batch, by the asset that it is of."""
    store = Store.open(str(project / "data"), project / "data" / "cache")
    found = {}
    for dataset in store.datasets():
        manifest = store.chain(dataset, BATCH).latest()
        assert manifest is not None
        found[f"{dataset.split('/')[1]}_embeddings" if "/" in dataset else dataset] = manifest
    return found


def told(project: Path) -> dict[str, dict[str, object]]:
    """What Dagster was told last of that batch, by asset."""
    found = {}
    with dg.DagsterInstance.from_config(str(project / ".dagster")) as instance:
        for asset in newest(project):
            wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[BATCH])
            event = instance.fetch_materializations(wanted, limit=1).records[0].asset_materialization
            assert event is not None
            found[asset] = {name: event.metadata[name].value for name in ("version", "content", "total")}
    return found
