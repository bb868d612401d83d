"""A refresh brings the index to the winners of all batches, at the cost of what changed."""

import subprocess
import sys
from pathlib import Path

import pytest

from embeddings_dagster.errors import CommitConflict, CorruptFile, Stopped, StoreError
from embeddings_dagster.ids import Key
from embeddings_dagster.index import GenerationManifest, Generations
from embeddings_dagster.stages.index import refresh_index
from embeddings_dagster.stages.index_plan import Row
from embeddings_dagster.stages.models import serving
from embeddings_dagster.stages.refreshing import RACES
from embeddings_dagster.store.steps import KILL_AT
from embeddings_dagster_tests.index.helpers import vector
from embeddings_dagster_tests.stages.index_world import IDENTITY, MODEL, World, make_world, whole


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def test_the_first_refresh_holds_every_row_and_registers_the_model(world: World) -> None:
    world.write("1", {**whole("a", "b"), "art:page": {0: "page", 1: "left", 2: "right"}})
    report = world.refresh()
    assert (report.generation, report.rows, report.segments, report.inserted) == (1, 5, 1, 5)
    assert world.rows() == {
        Key("art:a", 0): Row("a@1", "art__1"),
        Key("art:b", 0): Row("b@1", "art__1"),
        Key("art:page", 0): Row("page", "art__1"),
        Key("art:page", 1): Row("left", "art__1"),
        Key("art:page", 2): Row("right", "art__1"),
    }
    record = serving(world.store, MODEL)
    assert record is not None
    assert record.fingerprint == IDENTITY.fingerprint


def test_nothing_to_index_makes_nothing(world: World) -> None:
    report = world.refresh()
    assert (report.generation, report.changed, world.files()) == (None, False, {})
    assert serving(world.store, MODEL) is None


def test_a_refresh_without_change_writes_nothing(world: World) -> None:
    world.write("1", whole("a", "b"))
    world.refresh()
    before = world.files()
    report = world.refresh()
    assert (report.generation, report.changed, report.bytes_written, report.batches_read) == (1, False, 0, 0)
    assert world.files() == before


def test_only_changed_batches_are_read_and_only_new_rows_written(world: World) -> None:
    world.write("1", whole("a", "b", "c"))
    world.write("2", whole("d", "e"))
    world.refresh()
    before = world.files()
    world.write("2", {**whole("d", "f"), **whole("e", version="2")})
    report = world.refresh()
    assert (report.batches_read, report.inserted, report.updated, report.removed) == (1, 1, 1, 0)
    new = sorted(name.split("/")[0] for name in world.files().keys() - before.keys())
    assert new == ["deletions", "manifests", "segments", "segments", "segments"]
    assert {name: time for name, time in world.files().items() if name in before} == before
    assert world.rows()[Key("art:e", 0)] == Row("e@2", "art__2")
    assert report.rows == len(world.rows()) == 6


def test_a_generation_says_what_it_consumed(world: World) -> None:
    world.age(**{"1": 5})
    made = world.write("1", whole("a"), failed=[Key("art:b", 0)])
    world.refresh()
    newest = world.generations.latest()
    assert newest is not None
    state = newest.consumed["art__1"]
    assert (state.version, state.content) == (made.version, made.content)
    assert state.newest == "2026-01-07T12:00:00.000000+00:00"
    assert len(state.failed) == 64


def test_the_newest_batch_wins_and_the_older_returns_when_it_goes(world: World) -> None:
    world.age(old=1, new=2)
    world.write("old", whole("a", "b", version="old"))
    world.write("new", whole("a", version="new"))
    world.refresh()
    assert world.rows()[Key("art:a", 0)] == Row("a@new", "art__new")
    world.write("new", {})
    report = world.refresh()
    assert (report.batches_read, report.updated, report.removed) == (1, 1, 0)
    assert world.rows() == {Key("art:a", 0): Row("a@old", "art__old"), Key("art:b", 0): Row("b@old", "art__old")}


def test_a_vanished_batch_leaves_the_index(world: World) -> None:
    world.write("1", whole("a"))
    folder = Path(world.store.root, world.write("2", whole("b")).dataset, "art__2")
    world.refresh()
    folder.rename(folder.with_name(".gone"))
    assert world.refresh().removed == 1
    assert world.rows() == {Key("art:a", 0): Row("a@1", "art__1")}


def test_a_batch_scraped_again_later_takes_over_unread(world: World) -> None:
    world.age(one=1, two=2)
    world.write("one", whole("a", version="one"))
    world.write("two", whole("a", version="two"))
    world.refresh()
    world.age(one=3)
    report = world.refresh()
    assert (report.batches_read, report.updated) == (0, 1)
    assert world.rows() == {Key("art:a", 0): Row("a@one", "art__one")}


def test_a_batch_that_changes_as_it_takes_over_does_so_with_all_its_images(world: World) -> None:
    """Only one of its pictures changed, and the other is now the newest all the same."""
    world.age(one=1, two=2)
    world.write("one", whole("a", "b", version="one"))
    world.write("two", whole("a", version="two"))
    world.refresh()
    world.age(one=3)
    world.write("one", {**whole("a", version="one"), **whole("b", version="changed")})
    report = world.refresh()
    assert (report.batches_read, report.updated) == (1, 2)
    assert world.rows() == {
        Key("art:a", 0): Row("a@one", "art__one"),
        Key("art:b", 0): Row("b@changed", "art__one"),
    }


def test_an_older_batch_without_failure_is_shown_until_the_newer_one_heals(world: World) -> None:
    world.age(old=1, new=2)
    world.write("old", {"art:a": {0: "old0", 1: "old1"}})
    world.write("new", {"art:a": {0: "new0"}}, failed=[Key("art:a", 1)])
    world.refresh()
    assert world.rows() == {Key("art:a", 0): Row("old0", "art__old"), Key("art:a", 1): Row("old1", "art__old")}
    world.write("new", {"art:a": {0: "new0"}})  # the failed region is no longer wanted: no row changed
    world.refresh()
    assert world.rows() == {Key("art:a", 0): Row("new0", "art__new")}


def test_an_index_may_become_empty_and_fill_again(world: World) -> None:
    world.write("1", whole("a", "b"))
    world.refresh()
    world.write("1", {})
    report = world.refresh()
    assert (report.rows, report.segments, report.removed) == (0, 0, 2)
    assert world.open().search(vector("x"), 3) == []
    world.write("1", whole("a"))
    assert world.refresh().rows == 1


def test_a_row_that_dies_and_returns_is_found_once(world: World) -> None:
    world.write("1", whole("a", "b", "c"))
    world.refresh()
    for pictures in (whole("a", "c"), whole("a", "b", "c"), whole("b"), whole("a", "b", "c")):
        world.write("1", pictures)
        world.refresh()
        assert world.rows().keys() == {Key(image, 0) for image in pictures}


def test_a_fold_of_a_batch_makes_no_new_generation(world: World) -> None:
    world.write("1", whole("a"))
    world.refresh()
    for number in range(10):  # many parts, then folds, that end at the same rows
        world.write("1", whole("a", f"extra{number}"))
    world.write("1", whole("a"))
    assert not world.refresh().changed


def test_the_derived_state_may_be_deleted_at_any_time(world: World) -> None:
    world.write("1", whole("a", "b"))
    world.refresh()
    for path in (world.store.cache / "indexes").iterdir():
        path.unlink()
    world.write("2", whole("c"))
    report = world.refresh()
    assert (report.inserted, report.updated, report.removed, report.batches_read) == (1, 0, 0, 2)
    assert len(world.rows()) == 3


@pytest.mark.parametrize("damage", [b"not a database at all, but long enough to look", b""])
def test_a_damaged_derived_state_is_made_again(world: World, damage: bytes) -> None:
    world.write("1", whole("a", "b"))
    world.refresh()
    (path,) = (world.store.cache / "indexes").iterdir()
    path.write_bytes(damage)
    world.write("1", whole("a", "b", "c"))
    assert world.refresh().inserted == 1
    assert len(world.rows()) == 3


def test_a_state_of_another_generation_is_not_trusted(world: World) -> None:
    world.write("1", whole("a"))
    world.refresh()
    (path,) = (world.store.cache / "indexes").iterdir()
    behind = path.read_bytes()
    world.write("1", whole("a", "b"))
    world.refresh()
    path.write_bytes(behind)
    world.write("1", whole("b", "c"))
    world.refresh()
    assert world.rows().keys() == {Key("art:b", 0), Key("art:c", 0)}


def test_who_loses_the_race_plans_again(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine, which does not see our lock, refreshes between our plan and our commit."""
    world.write("1", whole("a"))
    other = make_world(tmp_path, cache="other")
    commit = Generations.commit
    raced: list[bool] = []

    def race(self: Generations, base: GenerationManifest | None, following: GenerationManifest) -> GenerationManifest:
        if not raced:
            raced.append(True)
            other.refresh()
            world.write("2", whole("b"))
        return commit(self, base, following)

    monkeypatch.setattr(Generations, "commit", race)
    report = world.refresh()
    assert (report.generation, report.inserted) == (2, 1)
    assert world.rows().keys() == {Key("art:a", 0), Key("art:b", 0)}
    assert any("was committed by another writer first" in line for line in world.log)
    newest = world.generations.latest()
    assert newest is not None
    kept = world.generations.referenced(newest) | world.generations.referenced(world.generations.get(1))
    assert {f"{world.generations.folder}/{file}" for file in world.files()} == kept


def test_losing_every_race_is_an_error_and_takes_back_what_was_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write("1", whole("a"))
    world.refresh()
    before = world.files()
    world.write("1", whole("b"))
    tries = []

    def lose(*_: object) -> GenerationManifest:
        tries.append(True)
        raise CommitConflict("another writer was first")

    monkeypatch.setattr(Generations, "commit", lose)
    with pytest.raises(CommitConflict, match="another writer"):
        world.refresh()
    assert len(tries) == RACES
    assert world.files() == before


def test_a_stop_leaves_the_index_as_it_was(world: World) -> None:
    world.write("1", whole("a"))
    world.refresh()
    before = world.files()
    world.write("1", whole("a", "b"))
    world.context.stop.set()
    with pytest.raises(Stopped, match="run again"):
        world.refresh()
    assert world.files() == before
    world.context.stop.clear()
    assert world.refresh().inserted == 1


def test_embeddings_of_another_dimension_are_refused(world: World) -> None:
    world.write("1", whole("a"))
    identity = type(IDENTITY)(IDENTITY.model, IDENTITY.fingerprint, 16, {})
    with pytest.raises(StoreError, match="dimension 8 where the model has 16"):
        refresh_index(world.context, MODEL, identity)
    assert world.files() == {}


def test_a_damaged_part_stops_the_refresh_and_not_the_searches(world: World) -> None:
    world.write("1", whole("a"))
    world.refresh()
    world.write("2", whole("b"))
    (part,) = Path(world.store.root).glob("embeddings/*/*/art__2/parts/*.parquet")
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    with pytest.raises(CorruptFile, match=part.name):
        world.refresh()
    assert world.rows().keys() == {Key("art:a", 0)}


KILLED = """
import sys
from pathlib import Path
from embeddings_dagster_tests.stages.index_world import make_world
make_world(Path(sys.argv[1])).refresh()
"""


@pytest.mark.parametrize(
    ("step", "committed"),
    [
        ("deletions:written", False),
        ("segment:written", False),
        ("create:temporary:3", False),  # the first are the probe for exclusive creation
        ("create:linked:2", True),
        ("manifest:created", True),
    ],
)
def test_a_kill_leaves_the_old_generation_or_the_new(
    world: World, tmp_path: Path, step: str, committed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write("1", whole("a", "b"))
    world.refresh()
    world.write("1", whole("a", "c"))
    monkeypatch.setenv(KILL_AT, step)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    monkeypatch.delenv(KILL_AT)
    assert world.rows().keys() == {Key("art:a", 0), Key("art:c" if committed else "art:b", 0)}
    report = world.refresh()
    assert report.changed != committed
    assert world.rows().keys() == {Key("art:a", 0), Key("art:c", 0)}
    world.write("1", whole("c", "d"))
    world.refresh()
    assert world.rows().keys() == {Key("art:c", 0), Key("art:d", 0)}
