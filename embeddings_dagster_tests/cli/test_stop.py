"""A run that is told to stop commits what is whole, says so in a line, and the next one goes on."""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import dagster as dg

from embeddings_dagster_tests.cli.command import COMMAND, environment, run
from embeddings_dagster_tests.cli.conftest import SAMPLE


def test_stop_signals_are_obeyed_and_nothing_is_left_behind(tmp_path: Path) -> None:
    shutil.copytree(SAMPLE / "food", tmp_path / "pics")
    assert run("init", "--source", "pics", cwd=tmp_path).returncode == 0
    for number in (signal.SIGTERM, signal.SIGINT):
        stop_a_run(tmp_path, number)
    with dg.DagsterInstance.from_config(str(tmp_path / ".dagster")) as instance:
        # A run that is stopped while torch is loaded, on a machine that takes more than nine seconds for that, is
        # ended where it is, and found dead by the next one.
        assert {each.status for each in instance.get_runs()} <= {
            dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED,
        }  # fmt: skip
    done = run("run", "--json", "--model", "clip", cwd=tmp_path)
    assert done.returncode == 0
    with dg.DagsterInstance.from_config(str(tmp_path / ".dagster")) as instance:
        assert {each.is_finished for each in instance.get_runs()} == {True}
        assert instance.event_log_storage.get_concurrency_info("gpu").claimed_slots == []
    [source] = json.loads(done.stdout)["sources"]
    assert (source["total"], source["processed"], source["undone"]) == (62, 62, 0)


def stop_a_run(root: Path, number: signal.Signals) -> None:
    """Begin a run, and send it a signal while it encodes."""
    locks = root / "data" / "cache" / "locks"
    shutil.rmtree(locks, ignore_errors=True)
    running = subprocess.Popen(
        [COMMAND, "run"], cwd=root, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(locks, "embeddings*clip*", running)
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "")
    assert err.splitlines()[-1] in (
        "stopped on request; what was whole is committed, run again to go on",
        "stopped on request; what was committed is whole, run again to go on",
    )
    assert "Traceback" not in err


def wait_for(folder: Path, pattern: str, running: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + 60
    while not any(folder.glob(pattern)):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
