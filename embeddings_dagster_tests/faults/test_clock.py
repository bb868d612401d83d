"""A clock that jumps: back a year, forward ten, between runs and in the middle of them. What decides which version is
the newest is its number; nothing waits for a time that will not come, and nothing is made again."""

import json
import os
import shutil
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from embeddings_dagster.defs import asking, lifecycle
from embeddings_dagster.settings import DagsterSettings
from embeddings_dagster.sources.downloads.record import Row
from embeddings_dagster.stages.verify import verify
from embeddings_dagster_tests.cli.command import COMMAND, environment
from embeddings_dagster_tests.faults.projects import artwork, rows_of, store_of

YEAR = 365 * 24 * 3600
SLOW = DagsterSettings(retry_seconds=3600)


@dg.job
def embed_batches() -> None: ...


def test_a_run_that_ended_in_the_future_rests_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(embed_batches, tags={"embeddings/state": "s"})
        instance.report_run_failed(run)
        asked = {"embeddings/state": "s"}
        assert asking.next_attempt(instance, SLOW, asked, asked) is None
        monkeypatch.setattr(asking, "datetime", SetBack)
        assert asking.next_attempt(instance, SLOW, asked, asked) == 1


def test_a_run_that_was_handed_over_in_the_future_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        tags = {"embeddings/discovered": "true"}
        run = instance.create_run_for_job(embed_batches, tags=tags, status=dg.DagsterRunStatus.STARTING)
        assert lifecycle.bury(instance) == []
        monkeypatch.setattr(lifecycle, "datetime", SetBack)
        assert lifecycle.bury(instance) == [run.run_id]


class SetBack(datetime):
    """The clock of one who was set back a year."""

    @classmethod
    def now(cls, tz: object = None) -> datetime:
        return datetime.now(UTC) - timedelta(seconds=YEAR)


def test_what_a_server_said_before_the_clock_was_set_back_counts_no_more() -> None:
    now = time.time()
    told = Row("http://shop/1.png", "1", failed_at=now, not_before=now + 60)
    assert told.is_left_alone(now + 1)
    assert not told.is_left_alone(now + 61)
    assert not told.is_left_alone(now - YEAR)


@pytest.fixture(scope="session")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that sets the clock of whoever is started with it."""
    made = tmp_path_factory.mktemp("clock") / "clock.so"
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to make the clock with")
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, source, "-ldl"], check=True)
    return made


class Watch:
    """Runs by another clock."""

    def __init__(self, library: Path, root: Path) -> None:
        self._file = root / "clock"
        self._root = root
        self._over = {"LD_PRELOAD": str(library), "TEST_CLOCK": str(self._file)}
        self.set(0)

    def set(self, seconds: int) -> None:
        """From now on, so many seconds off."""
        self._file.with_suffix(".new").write_text(f"{seconds}\n")
        os.replace(self._file.with_suffix(".new"), self._file)

    def run(self, *jumps: int) -> dict[str, dict[str, int]]:
        """A run that must end well; the clock jumps while it goes on, every second. What became of each source."""
        running = subprocess.Popen(
            [COMMAND, "run", "--json"], cwd=self._root, env=environment(**self._over), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        for jump in jumps:
            time.sleep(1)
            self.set(jump)
        out, err = running.communicate(timeout=300)
        assert running.returncode == 0, out + err
        return {each["source"]: each for each in json.loads(out)["sources"]}


@pytest.mark.torture
def test_runs_by_a_clock_that_jumps_lose_nothing_and_make_nothing_twice(tmp_path: Path, clock: Path) -> None:
    root = artwork(tmp_path / "project", 6)
    watch = Watch(clock, root)
    some = sorted((root / "pics").glob("*.png"))
    made = 6
    for number, (offset, jumps) in enumerate([
        (0, ()), (10 * YEAR, ()), (-YEAR, ()), (0, (10 * YEAR, 0, -YEAR)), (-YEAR, (0, 10 * YEAR, -YEAR, 0)), (0, ()),
    ]):  # fmt: skip
        watch.set(offset)
        shutil.copyfile(some[number % 6], root / "pics" / f"new {number}.png")
        future = time.time() + (-1) ** number * 5 * YEAR
        os.utime(root / "pics" / f"new {number}.png", (future, future))
        taken = watch.run(*jumps)["art"]["total"] == made + 1
        if not taken:  # the clock jumped between the two looks: the next run takes it
            assert jumps
            taken = watch.run()["art"]["total"] == made + 1
        assert taken
        made += 1
        store = store_of(root)
        assert {name: len(rows) for name, rows in rows_of(store).items()} == {
            "raw_images": made + 2, "rgb_images": made + 2,
        }  # fmt: skip
        assert verify(store) == []
    watch.set(0)
    again = watch.run()
    assert {name: (each["processed"], each["undone"]) for name, each in again.items()} == {
        "art": (0, 0), "more": (0, 0),
    }  # fmt: skip
