"""Discovery with real files, a real folder source and a real store."""

import os
import re
import threading
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from embeddings_dagster.errors import CommitConflict, RemovalRefused, SourceError, Stopped, UnknownItem
from embeddings_dagster.settings import Settings
from embeddings_dagster.settings_sources import FolderSource
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discover import Discovery, discover, survey
from embeddings_dagster.store import Ledger, LedgerManifest, Store
from embeddings_dagster.store.tables import LEDGER


class Place:
    """A folder of files, and a store beside it."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "pictures"
        self.folder.mkdir()
        self.store = Store.open(root / "data", root / "cache")
        self.looks = root / "cache" / "looks" / "photos.parquet"
        self.lines: list[str] = []
        self.settings = Settings(
            sources={"photos": FolderSource(kind="folder", path=self.folder)}, batch_images=4, data=str(root / "data")
        )

    def context(self, **changes: object) -> StageContext:
        return StageContext(self.settings, self.store, run_id="run", log=self.lines.append, **changes)

    def write(self, *names: str, size: int = 1) -> None:
        for name in names:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * size)

    def tick(self, **options: object) -> Discovery:
        """A look without waiting, three seconds after the one before."""
        if self.looks.exists():
            seen = pq.read_table(self.looks)
            earlier = pc.subtract(seen["seen_at"], pa.scalar(timedelta(seconds=3)))
            pq.write_table(seen.set_column(3, "seen_at", earlier), self.looks)
        return discover(self.context(), "photos", wait=False, **options)

    def settle(self) -> Discovery:
        self.tick()
        return self.tick()

    def live(self) -> list[str]:
        ledger = self.store.ledger("photos")
        manifest = ledger.latest()
        tables = [ledger.rows(manifest, batch) for batch in manifest.batches]
        return sorted(row["local_id"] for table in tables for row in table.to_pylist() if row["removed_at"] is None)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_file_is_taken_by_the_second_tick(place: Place) -> None:
    place.write("a.png", "b.png")
    first = place.tick()
    assert (first.new, first.unsettled, first.batches_changed) == (0, 2, ())
    second = place.tick()
    assert (second.new, second.unsettled, second.batches_changed) == (2, 0, ("photos__000001",))
    assert place.live() == ["a.png", "b.png"]
    assert not place.looks.exists(), "nothing is waited for any more"


def test_two_ticks_too_close_together_are_one_look(place: Place) -> None:
    place.write("a.png")
    for _ in range(3):
        assert discover(place.context(), "photos", wait=False).unsettled == 1


def test_a_file_that_grows_between_the_ticks_is_left_for_the_next(place: Place) -> None:
    place.write("grows.png", "done.png")
    place.tick()
    place.write("grows.png", size=2)
    assert (place.tick().new, place.live()) == (1, ["done.png"])
    assert (place.tick().new, place.live()) == (1, ["done.png", "grows.png"])


def test_a_change_waits_and_the_old_row_stays_meanwhile(place: Place) -> None:
    place.write("a.png")
    place.settle()
    version = place.store.ledger("photos").latest().version
    place.write("a.png", size=9)
    waiting = place.tick()
    assert (waiting.changed, waiting.unsettled, waiting.manifest.version) == (0, 1, version)
    taken = place.tick()
    assert (taken.changed, taken.manifest.version) == (1, version + 1)


def test_a_run_waits_for_the_second_look_only_when_there_is_something_to_settle(place: Place) -> None:
    place.write("a.png")
    assert discover(place.context(), "photos", wait=True).new == 1
    stopped = threading.Event()
    stopped.set()
    assert discover(place.context(stop=stopped), "photos", wait=True).unchanged == 1, "it did not wait"


def test_a_run_leaves_what_changes_while_it_waits(place: Place) -> None:
    place.write("a.png", "grows.png", "vanishes.png")

    def disturb() -> None:
        place.write("grows.png", size=2)
        (place.folder / "vanishes.png").unlink()

    timer = threading.Timer(1, disturb)
    timer.start()
    found = discover(place.context(), "photos", wait=True)
    timer.join()
    assert (found.new, found.unsettled, place.live()) == (1, 2, ["a.png"])


def test_a_stop_is_obeyed_while_waiting(place: Place) -> None:
    place.write("a.png")
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        discover(place.context(stop=stop), "photos", wait=True)
    assert place.store.ledger("photos").latest() is None


@pytest.mark.parametrize("damage", [b"", b"PAR1 not parquet PAR1", None])
def test_remembered_looks_may_be_lost_or_damaged_at_any_time(place: Place, damage: bytes | None) -> None:
    place.write("a.png")
    place.tick()
    if damage is None:
        pq.write_table(pa.table({"other": [1]}), place.looks)
    else:
        place.looks.write_bytes(damage)
    assert discover(place.context(), "photos", wait=False).unsettled == 1
    assert place.tick().new == 1


def test_a_look_from_the_future_counts_for_nothing(place: Place) -> None:
    place.write("a.png")
    place.tick()
    seen = pq.read_table(place.looks)
    later = pc.add(seen["seen_at"], pa.scalar(timedelta(days=1)))
    pq.write_table(seen.set_column(3, "seen_at", later), place.looks)
    assert discover(place.context(), "photos", wait=False).unsettled == 1
    assert place.tick().new == 1, "and is replaced, so that the file is not waited for until tomorrow"


def test_an_unchanged_source_commits_nothing(place: Place) -> None:
    place.write("a.png")
    version = place.settle().manifest.version
    again = place.tick()
    assert (again.manifest.version, again.batches_changed, again.unchanged) == (version, (), 1)
    assert str(again) == "source photos: 1 unchanged"


def test_an_empty_source_gets_an_empty_ledger_once(place: Place) -> None:
    assert place.tick().manifest.version == 1
    assert place.tick().manifest.version == 1
    assert place.tick().manifest.batches == {}


def test_a_renamed_folder_moves_its_pictures_within_their_batches(place: Place) -> None:
    place.write(*(f"old/{n}.png" for n in range(6)))
    place.settle()
    (place.folder / "old").rename(place.folder / "new")
    assert place.tick().gone == 0
    moved = place.tick()
    assert (moved.moved, moved.new, moved.gone) == (6, 0, 0)
    assert place.live() == [f"new/{n}.png" for n in range(6)]
    assert {key: entry.live for key, entry in moved.manifest.batches.items()} == {
        "photos__000001": 4,
        "photos__000002": 2,
    }


def test_a_removed_file_is_gone_at_once_and_only_its_batch_changes(place: Place) -> None:
    place.write(*(f"{n}.png" for n in range(6)))
    place.settle()
    (place.folder / "5.png").unlink()
    found = place.tick()
    assert (found.gone, found.batches_changed) == (1, ("photos__000002",))


@pytest.mark.parametrize("accident", ["missing", "a file", "empty"])
def test_a_root_that_is_missing_or_not_mounted_removes_nothing(place: Place, accident: str) -> None:
    place.write("a.png")
    place.settle()
    (place.folder / "a.png").unlink()
    if accident != "empty":
        place.folder.rmdir()
    if accident == "a file":
        place.folder.write_text("")
    with pytest.raises(SourceError, match=r"[Nn]othing was removed"):
        place.tick()
    assert place.live() == ["a.png"]


def test_a_removal_that_looks_like_an_accident_needs_a_word(place: Place) -> None:
    place.settings = place.settings.model_copy(update={"batch_images": 1000})
    place.write(*(f"{n:03d}.png" for n in range(300)))
    place.settle()
    for n in range(101):
        (place.folder / f"{n:03d}.png").unlink()
    with pytest.raises(RemovalRefused, match=re.escape("101 of 300 images are no longer there (000.png, ")):
        place.tick()
    assert len(place.live()) == 300
    assert place.tick(allow_removals=True).gone == 101
    assert len(place.live()) == 199


def test_a_sample_limits_what_enters(place: Place) -> None:
    place.write(*(f"{n}.png" for n in range(9)))
    place.tick(sample=3)
    found = place.tick(sample=3)
    assert (found.new, found.left_out, found.unsettled) == (3, 6, 0)
    assert (place.tick(sample=3).new, place.tick(sample=1).gone) == (0, 0)


def test_a_survey_says_what_would_be_done_and_does_nothing(place: Place) -> None:
    place.write("a.png", "b.txt", ".hidden.png")
    found = survey(place.context(), "photos")
    assert found.plan.new.to_pylist() == ["a.png"]
    assert found.scan.ignored == {"hidden": 1, "not a picture by its extension": 1}
    assert found.base is None
    assert not os.path.exists(place.store.root)
    assert not place.looks.exists()


def test_what_was_passed_over_is_reported(place: Place) -> None:
    place.write("a.png", "notes.txt")
    assert place.tick().ignored == {"not a picture by its extension": 1}


def test_a_source_that_is_not_in_the_settings_is_named(place: Place) -> None:
    with pytest.raises(UnknownItem, match="no source 'other' in the settings"):
        discover(place.context(), "other", wait=False)


def test_two_discoveries_at_once_both_end_with_the_whole_ledger(place: Place) -> None:
    place.write(*(f"{n}.png" for n in range(20)))
    place.tick()
    seen = pq.read_table(place.looks)
    pq.write_table(seen.set_column(3, "seen_at", pc.subtract(seen["seen_at"], pa.scalar(timedelta(9)))), place.looks)
    gate = threading.Barrier(4)
    errors: list[Exception] = []

    def work() -> None:
        gate.wait()
        try:
            discover(place.context(), "photos", wait=True)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(place.live()) == 20


def test_a_lost_race_is_planned_again_from_the_winners_ledger(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.write("a.png")
    place.tick()
    commit, rivals = Ledger.commit, iter(["first", "second"])

    def beaten(self: Ledger, base: LedgerManifest, *args: object, **kwargs: object) -> LedgerManifest:
        rival = next(rivals, None)
        if rival:
            batch = "photos__000001"
            row = {"local_id": rival, "item_id": rival, "ordinal": 0, "batch": batch, "location": rival}
            theirs = pa.concat_tables([self.rows(base, batch), pa.Table.from_pylist([row], schema=LEDGER)])
            commit(self, base, {batch: theirs}, run_id="rival")
        return commit(self, base, *args, **kwargs)

    monkeypatch.setattr(Ledger, "commit", beaten)
    found = place.tick()
    assert (found.new, found.gone, found.manifest.version) == (1, 2, 4)
    assert place.live() == ["a.png"]
    assert found.manifest.batches["photos__000001"].total == 3
    assert sum("another discovery committed first" in line for line in place.lines) == 2


def test_a_race_that_is_always_lost_ends(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def beaten(*_: object, **__: object) -> None:
        raise CommitConflict("another writer was first")

    monkeypatch.setattr(Ledger, "commit", beaten)
    with pytest.raises(CommitConflict):
        place.tick()
