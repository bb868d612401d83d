"""Runs in this process, on a real instance: what they leave in the history, in the store, and in the pools."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from embeddings_dagster.defs.build import project_defs
from embeddings_dagster.defs.home import make_home, project_instance
from embeddings_dagster.defs.launch import Launcher, Options, neighbours
from embeddings_dagster.defs.lifecycle import process_tags
from embeddings_dagster.defs.partitions import known_keys
from embeddings_dagster.defs.resources import Project, Watch
from embeddings_dagster.errors import Stopped, UnknownItem
from embeddings_dagster.settings import Settings
from embeddings_dagster.stages.account import Account
from embeddings_dagster.stages.discover import discover
from embeddings_dagster.stages.embed import dataset

KEYS = ["pics__000001", "pics__000002", "pics__000003"]

CHILD = """
import sys
from pathlib import Path
from embeddings_dagster.defs.build import project_defs
from embeddings_dagster.defs.home import project_instance
from embeddings_dagster.defs.launch import Launcher
from embeddings_dagster.defs.resources import Project
from embeddings_dagster.errors import Stopped
from embeddings_dagster.settings import load_settings

project = Project(load_settings(Path(sys.argv[1])))
with project_instance(project.settings) as instance:
    launcher = Launcher(project_defs(project), project, instance, lambda line: print(line, flush=True))
    try:
        for outcome in launcher.batches(sys.argv[2:]):
            print(outcome, flush=True)
    except Stopped:
        sys.exit(7)
"""


class Here:
    """A project whose sources were looked at, its instance, and what its runs say."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.accounts: list[Account] = []
        self.said: list[str] = []
        self.instance = instance
        self.signal_at: int | None = None
        watch = Watch(account=self.accounts.append, progress=self._progress, log=lambda line: None)
        self.project = Project(settings, watch=watch)
        self.launcher = Launcher(project_defs(self.project), self.project, instance, self.said.append)

    def _progress(self, what: str, done: int, total: int) -> None:
        if what.startswith("dino") and done == self.signal_at:
            self.signal_at = None
            os.kill(os.getpid(), signal.SIGTERM)

    def embeddings(self, key: str):
        return self.project.store.chain(dataset("dino", self.project.identity("dino")), key)

    def run(self, run_id: str) -> dg.DagsterRun:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run


@pytest.fixture
def here(settings: Settings, stage, looks_at_once: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    discover(stage, "pics", wait=True)
    with project_instance(settings) as instance:
        yield Here(settings, instance)


def child(here: Here, *keys: str) -> subprocess.Popen[str]:
    """The same launch in another process."""
    command = [sys.executable, "-c", textwrap.dedent(CHILD), str(here.project.settings.root / "embeddings.yaml"), *keys]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(happened, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.1)


def test_groups_are_neighbours_in_the_partition_set() -> None:
    known = ["c", "a", "b", "d", "e"]
    assert list(neighbours(known, ["a", "b", "d"], 50)) == [["a", "b", "d"]]
    assert list(neighbours(known, ["c", "b", "e", "d", "c"], 50)) == [["c"], ["b", "d", "e"]]
    assert list(neighbours(known, known, 2)) == [["c", "a"], ["b", "d"], ["e"]]
    assert list(neighbours(known, [], 2)) == []


def test_the_home_is_made_beside_the_settings_and_left_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    home = make_home(settings)
    assert home == settings.root / ".dagster"
    (home / "dagster.yaml").write_text("# mine\n")
    make_home(settings)
    assert (home / "dagster.yaml").read_text() == "# mine\n"


def test_a_launch_is_in_the_history_and_a_second_one_encodes_nothing(here: Here) -> None:
    (outcome,) = here.launcher.batches(KEYS)
    assert outcome.success, outcome.problems
    assert outcome.batches == tuple(KEYS)
    run = here.run(outcome.run_id)
    assert (run.job_name, run.status) == ("embed_batches", dg.DagsterRunStatus.SUCCESS)
    assert known_keys(here.instance) == set(KEYS)
    made = here.instance.fetch_materializations(dg.AssetKey("dino_embeddings"), limit=10).records
    versions = {record.partition_key: record.asset_materialization.tags["dagster/data_version"] for record in made}
    assert versions == {key: here.embeddings(key).latest().content for key in KEYS}, "each batch has its own"
    thumbnails = here.instance.fetch_materializations(dg.AssetKey("rgb_images"), limit=1).records[0]
    assert thumbnails.asset_materialization.metadata["thumbnails"].value.startswith("![")
    assert here.launcher.indexes().success

    here.accounts.clear()
    (again,) = here.launcher.batches(KEYS, Options(models=("dino",)))
    assert again.success
    assert {account.processed for account in here.accounts} == {0}
    with pytest.raises(UnknownItem, match="no model 'sigclip'"):
        list(here.launcher.batches(KEYS, Options(models=("sigclip",))))


def test_one_bad_batch_costs_the_others_nothing(here: Here) -> None:
    raw = here.project.store.chain("raw_images", KEYS[1])
    list(here.launcher.batches(KEYS[1:2]))
    part = Path(here.project.store.root) / raw.files(raw.latest())[0]
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    here.accounts.clear()
    (outcome,) = here.launcher.batches(KEYS)
    assert not outcome.success
    assert any("pics__000002: CorruptFile" in problem for problem in outcome.problems)
    assert not any("pics__000001" in problem or "pics__000003" in problem for problem in outcome.problems)
    for key in (KEYS[0], KEYS[2]):
        assert here.embeddings(key).latest() is not None
    of_this_run = here.instance.fetch_materializations(dg.AssetKey("raw_images"), limit=20).records
    keys = {record.partition_key for record in of_this_run if record.run_id == outcome.run_id}
    assert keys == {KEYS[0], KEYS[2]}, "what failed does not show as made"
    here.accounts.clear()
    assert all(each.success for each in here.launcher.batches([KEYS[0], KEYS[2]]))
    assert {account.processed for account in here.accounts} == {0}


def test_a_signal_keeps_what_is_whole_and_the_run_counts_as_canceled(here: Here) -> None:
    here.signal_at = 1
    with pytest.raises(Stopped, match="run again to go on"):
        list(here.launcher.batches(KEYS[:1]))
    assert here.instance.get_runs(limit=1)[0].status == dg.DagsterRunStatus.CANCELED
    head = here.embeddings(KEYS[0]).head()
    assert (head.complete, head.counts.ok) == (False, 1)
    here.accounts.clear()
    assert next(here.launcher.batches(KEYS[:1])).success
    encoded = next(account for account in here.accounts if account.stage == "dino_embeddings")
    assert (encoded.processed, encoded.skipped) == (1, 1)


def test_a_run_killed_with_the_slot_in_its_hand_keeps_nobody_waiting(here: Here) -> None:
    """Its embeddings step waits for another writer's lock, and so is known to hold the only `gpu` slot."""
    identity = here.project.identity("dino")
    with here.project.store.lock(f"{dataset('dino', identity)}/{KEYS[0]}"):
        killed = child(here, KEYS[0])
        pools = here.instance.event_log_storage
        wait_for(lambda: pools.get_concurrency_info("gpu").claimed_slots)
        killed.kill()
        killed.communicate(timeout=30)
    assert here.instance.get_runs(limit=1)[0].status == dg.DagsterRunStatus.STARTED, "Dagster has not noticed"
    (outcome,) = here.launcher.batches(KEYS[:1])
    assert outcome.success
    assert "had no process any more" in here.said[0]
    assert not any("waiting" in line for line in here.said)
    assert pools.get_concurrency_info("gpu").claimed_slots == []


def test_a_run_that_waits_for_a_slot_says_so_and_stops_on_a_signal(here: Here) -> None:
    job = project_defs(here.project).resolve_job_def("embed_batches")
    tags = {**process_tags(), "dagster/partition": KEYS[1]}
    holder = here.instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
    here.instance.event_log_storage.set_concurrency_slots("gpu", 1)
    assert here.instance.event_log_storage.claim_concurrency_slot("gpu", holder.run_id, "dino_embeddings").is_claimed
    waiting = child(here, KEYS[0])
    assert waiting.stdout is not None
    line = waiting.stdout.readline()
    while "waiting for it" not in line:
        assert line, "it ended without saying that it waits"
        line = waiting.stdout.readline()
    waiting.send_signal(signal.SIGTERM)
    started = time.monotonic()
    waiting.communicate(timeout=30)
    assert waiting.returncode == 7
    assert time.monotonic() - started < 10
    newest = here.instance.get_runs(limit=1)[0]
    said = [entry.message for entry in here.instance.all_logs(newest.run_id)]
    assert newest.status == dg.DagsterRunStatus.CANCELED, said[-6:]
    assert any(f"held by {holder.run_id}" in message for message in said)
