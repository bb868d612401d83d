"""A launch that was killed is noticed by the next run, also by one that has nothing to launch."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from embeddings_dagster.cli.launches import any_traces, marked, sweep
from embeddings_dagster.defs import tags
from embeddings_dagster_tests.cli.conftest import Command


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
