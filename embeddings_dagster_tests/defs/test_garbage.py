"""The weekly job: what it takes, when it is asked for, and that it, like every run, ends the dead when it starts."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg

from embeddings_dagster.defs import tags
from embeddings_dagster.defs.build import project_defs
from embeddings_dagster.defs.garbage import COLLECT_GARBAGE
from embeddings_dagster.defs.lifecycle import set_pool_limits
from embeddings_dagster.defs.resources import Project
from embeddings_dagster_tests.defs.test_schedules import tick as tick_schedule

HEX = "0123456789abcdef" * 2


def stray(project: Project, days: float) -> Path:
    """What a killed writer left so many days ago."""
    path = Path(project.store.root) / "raw_images" / "pics__000001" / "parts" / f"{HEX}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"12345")
    then = time.time() - days * 24 * 3600
    os.utime(path, (then, then))
    return path


def collected(project: Project, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    job = project_defs(project).resolve_job_def(COLLECT_GARBAGE)
    return job.execute_in_process(instance=instance, raise_on_error=False)


def test_it_takes_what_is_beyond_the_bounds_of_the_settings(project: Project, instance: dg.DagsterInstance) -> None:
    young = stray(project, 6)
    assert collected(project, instance).success
    assert young.exists()
    old = stray(project, 8)
    done = collected(project, instance)
    assert done.success
    assert not old.exists()
    (output,) = [each for each in done.all_events if each.is_successful_output]
    said = {name: value.value for name, value in output.step_output_data.metadata.items()}
    assert (said["files"], said["bytes"], said["left_alone"]) == (1, 5, 0)
    assert said["stray"] == "1 files, 5 bytes"


def test_the_schedule_asks_for_one_at_a_time(project: Project, instance: dg.DagsterInstance) -> None:
    [request] = tick_schedule(project, instance, COLLECT_GARBAGE).run_requests
    job = project_defs(project).resolve_job_def(COLLECT_GARBAGE)
    run = instance.create_run_for_job(job, tags=request.tags, status=dg.DagsterRunStatus.STARTED)
    assert tick_schedule(project, instance, COLLECT_GARBAGE).skip_message == "a garbage collection is under way"
    instance.report_run_failed(run)
    assert len(tick_schedule(project, instance, COLLECT_GARBAGE).run_requests) == 1


def test_whoever_starts_a_run_of_ours_ends_the_dead_and_frees_their_slots(
    project: Project, instance: dg.DagsterInstance
) -> None:
    """As the UI, the daemon and `dagster job launch` do: nothing of ours runs before the executor does."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    job = project_defs(project).resolve_job_def(COLLECT_GARBAGE)
    set_pool_limits(instance, {"gpu": 1})
    dead = {tags.HOST: socket.gethostname(), tags.PROCESS: f"{ended.pid}:1"}
    gone = instance.create_run_for_job(job, tags=dead, status=dg.DagsterRunStatus.STARTED)
    storage = instance.event_log_storage
    assert storage.claim_concurrency_slot("gpu", gone.run_id, "dino_embeddings").is_claimed
    recon = dg.reconstructable(job_of_the_settings)
    os.environ["EMBEDDINGS_SETTINGS"] = str(project.settings.root / "embeddings.yaml")
    try:
        with dg.execute_job(recon, instance=instance) as done:
            assert done.success
    finally:
        del os.environ["EMBEDDINGS_SETTINGS"]
    assert instance.get_run_by_id(gone.run_id).status == dg.DagsterRunStatus.FAILURE
    assert storage.get_concurrency_info("gpu").claimed_slots == []


def job_of_the_settings() -> dg.JobDefinition:
    """The job as a process of its own loads it."""
    from embeddings_dagster.settings import load_settings

    return project_defs(Project(load_settings())).resolve_job_def(COLLECT_GARBAGE)
