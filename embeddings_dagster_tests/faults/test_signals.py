"""Told to stop, a command ends within ten seconds, whatever it is at: what is whole is committed, and it says so."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import dagster as dg
import pytest
from filelock import FileLock

from embeddings_dagster.settings import load_settings
from embeddings_dagster.stages.verify import verify
from embeddings_dagster.store import Store
from embeddings_dagster_tests.cli.command import COMMAND, environment, run
from embeddings_dagster_tests.cli.conftest import PICTURES
from embeddings_dagster_tests.faults.commands import assert_said, begun, stopped, until
from embeddings_dagster_tests.faults.projects import emojis
from embeddings_dagster_tests.shop import open_shop, silent

from make_hostile import FOLDER, make_hostile  # isort: skip - `projects` puts tools on the path

SEED = 20270318


def locks(root: Path, pattern: str) -> list[Path]:
    return list((root / "data" / "cache" / "locks").glob(pattern))


def assert_nothing_is_held(root: Path) -> None:
    """No run goes on, no slot is taken, no lock, and the store is whole."""
    with dg.DagsterInstance.from_config(str(root / ".dagster")) as instance:
        assert [each.status for each in instance.get_runs() if not each.is_finished] == []
        for pool in instance.event_log_storage.get_concurrency_keys():
            assert not instance.event_log_storage.get_concurrency_info(pool).claimed_slots
    for lock in locks(root, "*.lock"):
        with FileLock(lock, timeout=0):
            pass
    settings = load_settings(root / "embeddings.yaml")
    assert verify(Store.open(settings.data_root, settings.cache_root)) == []


def assert_was_canceled(root: Path) -> None:
    """As Dagster has it: nobody found it dead."""
    with dg.DagsterInstance.from_config(str(root / ".dagster")) as instance:
        assert [each.status for each in instance.get_runs()] == [dg.DagsterRunStatus.CANCELED]


def assert_ends_well(root: Path, images: int) -> None:
    done = run("run", "--json", cwd=root)
    assert done.returncode == 0, done.stderr
    assert sum(each["total"] - each["failed"] for each in json.loads(done.stdout)["sources"]) == images


def test_a_decoder_that_takes_a_minute_is_given_up_though_its_group_gets_the_signal_too(tmp_path: Path) -> None:
    root = emojis(tmp_path / "project")
    made = make_hostile(tmp_path / "made")
    bomb = next(name for name, entry in made.items() if entry["kind"] == "time bomb")
    shutil.copy2(tmp_path / "made" / FOLDER / bomb, root / "pics" / f"bomb{Path(bomb).suffix}")
    with begun("run", cwd=root) as process:
        until(lambda: locks(root, "rgb_images*"), process)
        time.sleep(2)
        assert_said(stopped(process, group=True))
    assert_nothing_is_held(root)
    assert_was_canceled(root)
    store = Store.open(root / "data", root / "data" / "cache")
    failed = [each for name in ("raw_images", "rgb_images") for each in failures(store, name)]
    assert failed == [], "that it was stopped is not the picture's fault"


def failures(store: Store, dataset: str) -> list[str]:
    chain = store.chain(dataset, "art__000001")
    head = chain.head()
    return [each.message for each in chain.failures(head)] if head else []


def test_a_server_that_says_nothing_is_left(tmp_path: Path) -> None:
    with open_shop() as shop:
        shop["/slow.png"] = silent()
        sources = "shop: {kind: catalog, path: shop.csv, download: {private_hosts: [127.0.0.1]}}"
        root = emojis(tmp_path / "project", sources)
        (root / "shop.csv").write_text(f"id,image_url\n1,{shop.url('/slow.png')}\n")
        with begun("run", cwd=root) as process:
            until(lambda: shop.asked("/slow.png"), process)
            assert_said(stopped(process, signal.SIGINT))
        assert_nothing_is_held(root)
        assert_was_canceled(root)


def test_a_batch_that_another_process_holds_is_not_waited_for(tmp_path: Path) -> None:
    root = emojis(tmp_path / "project")
    folder = root / "data" / "cache" / "locks"
    folder.mkdir(parents=True)
    with FileLock(folder / "raw_images%2Fart__000001.lock"), begun("run", cwd=root) as process:
        assert process.stderr is not None
        while "another process is at work on it" not in process.stderr.readline():
            assert process.poll() is None
        assert_said(stopped(process, signal.SIGHUP))
    assert_nothing_is_held(root)
    assert_was_canceled(root)


def test_a_second_signal_ends_it_at_once() -> None:
    slow = subprocess.Popen(
        [sys.executable, "-c", DEAF], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert slow.stdout is not None
    try:
        assert slow.stdout.readline() == "deaf\n"
        slow.send_signal(signal.SIGTERM)
        slow.send_signal(signal.SIGTERM)  # as `timeout` does: to the process, and to its group
        time.sleep(1)
        assert slow.poll() is None
        for _ in range(10):  # on a busy machine two may be heard at the same moment, as one
            slow.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                slow.wait(3)
                break
        _, err = slow.communicate(timeout=5)
    finally:
        slow.kill()
        slow.wait()
    assert (slow.returncode, err) == (143, "stopped at once; what was committed is whole\n")


def test_a_library_that_lets_nobody_in_does_not_keep_it_from_ending() -> None:
    deaf = subprocess.Popen(
        [sys.executable, "-c", DEAF], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert deaf.stdout is not None
    assert deaf.stdout.readline() == "deaf\n"
    assert_said(stopped(deaf))


DEAF = """
import hashlib
from embeddings_dagster.defs.signals import listening, stop_on_signals
with listening(), stop_on_signals() as stop:
    print("deaf", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**30)  # minutes in a library, which Python does not interrupt
"""


@pytest.mark.torture
def test_signals_that_are_ignored_stay_so(tmp_path: Path) -> None:
    root = emojis(tmp_path / "project")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup has it
    try:
        with begun("run", cwd=root) as process:
            until(lambda: locks(root, "raw_images*"), process)
            process.send_signal(signal.SIGHUP)
            _, err = process.communicate(timeout=120)
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    assert process.returncode == 0, err


@pytest.mark.parametrize("stops", [1, pytest.param(60, marks=pytest.mark.torture)], ids=["small", "full"])
def test_stopped_at_random_moments_a_run_goes_on_where_it_was(tmp_path: Path, stops: int) -> None:
    print(f"seed {SEED}")
    moments = random.Random(SEED)
    root = emojis(tmp_path / "project")
    seconds = 0.0
    for number in range(stops):
        if not number % 10:  # begin again, so that every phase has its turn
            for made in ("data", ".dagster"):
                shutil.rmtree(root / made, ignore_errors=True)
        began = time.monotonic()
        with begun("run", cwd=root) as process:
            try:
                process.wait(moments.uniform(0.7, 12))
            except subprocess.TimeoutExpired:
                how = moments.choice([signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
                ended = stopped(process, how, group=moments.random() < 0.5)
                if ended.code == -how and not ended.err:
                    continue  # Python itself was not up yet
                if ended.code != 0:  # it may have been done by then
                    assert_said(ended)
            else:
                seconds = time.monotonic() - began
                assert process.returncode == 0
    print(f"a whole run took {seconds:.1f} s" if seconds else "each was stopped before its end")
    assert_ends_well(root, len(PICTURES))
    assert_nothing_is_held(root)


@pytest.mark.torture
def test_a_reader_that_goes_away_is_no_reason_for_a_traceback(tmp_path: Path) -> None:
    root = emojis(tmp_path / "project")
    assert into_nothing("run", cwd=root, nobody_reads="stderr").returncode == 0, "progress is only told"
    for arguments in (("search", "--id", "art:dog.png"), ("status", "--json"), ("files", "raw_images")):
        done = into_nothing(*arguments, cwd=root, nobody_reads="stdout")
        assert (done.returncode, done.stderr) == (1, "")


def into_nothing(*arguments: str, cwd: Path, nobody_reads: str) -> "subprocess.CompletedProcess[str]":
    """A command one of whose streams is a pipe that has been closed, as by `| head`."""
    reading, writing = os.pipe()
    os.close(reading)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, nobody_reads: writing}
    try:
        return subprocess.run([COMMAND, *arguments], cwd=cwd, env=environment(), text=True, check=False, **streams)
    finally:
        os.close(writing)
