"""A refresh brings the catalogue to the winners of all batches, at the cost of what changed, whatever comes between."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from embeddings_dagster.catalog import Catalogue, CatalogueManifest, Filter
from embeddings_dagster.catalog import catalogue as catalogue_module
from embeddings_dagster.errors import CommitConflict, CorruptFile, FormatTooNew, IndexUnavailable, MissingFile, Stopped
from embeddings_dagster.ids import Key
from embeddings_dagster.stages.refreshing import RACES
from embeddings_dagster.store.steps import KILL_AT
from embeddings_dagster_tests.stages.catalog_world import CatalogWorld, Item, make_catalog_world

FIRST = {"art:a": Item({"title": "First a"}), "art:b": Item({"title": "First b", "n": 1})}
SECOND = {"art:b": Item({"title": "Second b", "n": 2}), "art:c": Item({"title": "Second c"})}


@pytest.fixture
def world(tmp_path: Path) -> CatalogWorld:
    return make_catalog_world(tmp_path)


def titles(world: CatalogWorld) -> dict[str, str | None]:
    return {key.image_id: record.title for key, record in world.records().items() if key.region == 0}


def test_a_record_is_what_raw_images_says(world: CatalogWorld) -> None:
    page = Item({"title": "Page", "tags": ["x"]}, text="narrator", panels=["hi", None, "bye"])
    world.write("1", {"art:p#1": page})
    report = world.refresh()
    assert (report.generation, report.rows, report.images, report.inserted) == (1, 3, 1, 1)
    found = world.records()
    assert list(found) == [Key("art:p#1", 0), Key("art:p#1", 1), Key("art:p#1", 3)], "a panel without a box is no row"
    whole, panel = found[Key("art:p#1", 0)], found[Key("art:p#1", 3)]
    assert (whole.item_id, whole.ordinal, whole.batch, whole.location) == ("p", 1, "art__1", "p.png")
    assert (whole.metadata, whole.text, whole.box) == ({"title": "Page", "tags": ["x"]}, "narrator", None)
    assert (panel.text, panel.box, panel.title) == ("bye", (3, 0, 10, 20), "Page")


def test_nothing_to_take_in_is_no_generation(world: CatalogWorld) -> None:
    assert world.refresh().generation is None
    with pytest.raises(IndexUnavailable, match="make one with `embeddings run`"):
        world.catalogue.open()
    world.write("1", FIRST)
    assert world.refresh().changed
    before = world.files()
    again = world.refresh()
    assert (again.changed, again.generation, again.batches_read, again.bytes_written) == (False, 1, 0, 0)
    assert world.files() == before


def test_the_newest_batch_wins_and_the_older_record_returns(world: CatalogWorld) -> None:
    world.age(x=2, y=1)
    world.write("x", FIRST)
    world.write("y", SECOND)
    world.refresh()
    assert titles(world) == {"art:a": "First a", "art:b": "First b", "art:c": "Second c"}
    world.age(y=3)
    report = world.refresh()
    assert (report.updated, report.batches_read) == (1, 0), "the order alone changed: nothing was read to know that"
    assert titles(world)["art:b"] == "Second b"
    world.write("y", {"art:c": SECOND["art:c"]}, failed=["art:b"])
    world.refresh()
    assert titles(world)["art:b"] == "First b", "the newest that has it without failure"
    world.write("y", {})
    assert world.refresh().removed == 1
    assert titles(world) == {"art:a": "First a", "art:b": "First b"}


def test_a_batch_that_is_erased_leaves_nothing(world: CatalogWorld) -> None:
    world.write("x", FIRST)
    world.write("y", SECOND)
    world.refresh()
    world.store.files.delete_folder("raw_images/art__x")
    assert world.refresh().removed == 1
    assert set(titles(world)) == {"art:b", "art:c"}
    with world.catalogue.open() as snapshot:
        assert snapshot.find(Filter(text="first")) == []
        assert [each.name for each in snapshot.fields()] == ["n", "title"]


def test_a_refresh_reads_the_batches_that_changed_and_no_other(world: CatalogWorld) -> None:
    for number in range(5):
        world.write(str(number), {f"art:{number}": Item({"title": str(number)})})
    world.refresh()
    for number in range(4):
        parts = Path(world.store.root, "raw_images", f"art__{number}", "parts")
        parts.rename(parts.with_name("out of reach"))
    world.write("4", {"art:4": Item({"title": "new"})})
    report = world.refresh()
    assert (report.batches_read, report.updated, report.rows) == (1, 1, 5)


def test_a_change_of_no_record_makes_no_new_file(world: CatalogWorld) -> None:
    world.write("1", FIRST)
    world.refresh()
    before = world.files()
    world.write("1", FIRST, failed=["art:z"])
    report = world.refresh()
    assert (report.changed, report.generation, report.bytes_written) == (True, 2, 0)
    assert world.files() == before
    assert not world.refresh().changed


def test_a_lost_cache_costs_reading_and_changes_nothing(world: CatalogWorld, tmp_path: Path) -> None:
    world.write("1", FIRST)
    world.refresh()
    shutil.rmtree(tmp_path / "cache")
    assert not make_catalog_world(tmp_path).refresh().changed
    world.write("2", SECOND)
    other = make_catalog_world(tmp_path, cache="other")
    report = other.refresh()
    assert (report.inserted, report.updated, report.removed, report.batches_read) == (1, 1, 0, 2)
    (tmp_path / "other" / "catalog" / "state.sqlite").write_bytes(b"not a database at all, whatever it is")
    other.write("2", {})
    assert other.refresh().removed == 1
    assert any("made again" in line for line in other.log)
    assert titles(other) == {"art:a": "First a", "art:b": "First b"}


def test_a_reader_keeps_its_generation_while_others_come_and_old_ones_go(world: CatalogWorld) -> None:
    world.write("1", FIRST)
    world.refresh()
    pinned = world.catalogue.open()
    for number in range(6):
        world.write("1", {"art:a": Item({"title": f"version {number}"})})
        world.refresh()
    assert pinned.count() == 2
    assert [each.title for each in pinned.find()] == ["First a", "First b"]
    pinned.close()
    assert world.catalogue.numbers() == [5, 6, 7], "the last few stay"
    assert len(world.files()) == 3
    needed = {path for number in (5, 6, 7) for path in world.catalogue.referenced(world.catalogue.get(number))}
    assert needed == set(world.catalogue.stored())


def test_readers_see_whole_generations_during_refreshes(world: CatalogWorld) -> None:
    def version(number: int) -> dict[str, Item]:
        return {f"art:{name}": Item({"n": number}) for name in range(20 + number)}

    world.write("1", version(0))
    world.refresh()
    done, wrong = threading.Event(), []

    def read() -> None:
        while not done.is_set():
            with world.catalogue.open() as snapshot:
                said = {record.metadata["n"] for record in snapshot.find(limit=1000)}
                if len(said) != 1 or snapshot.count() != 20 + said.pop():
                    wrong.append(snapshot.manifest.version)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for each in readers:
        each.start()
    for number in range(1, 8):
        world.write("1", version(number))
        world.refresh()
    done.set()
    for each in readers:
        each.join()
    assert wrong == []


def test_who_opens_what_is_just_given_up_gets_the_newer_one(
    world: CatalogWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write("1", FIRST)
    world.refresh()
    local, forced = Catalogue.local, [make_catalog_world(Path(world.store.root).parent)]

    def between(self: Catalogue, manifest: CatalogueManifest) -> Path:
        if forced:
            other = forced.pop()
            other.context = replace(other.context, force=True)
            other.refresh()
        return local(self, manifest)

    monkeypatch.setattr(Catalogue, "local", between)
    with world.catalogue.open() as snapshot:
        assert snapshot.manifest.version == 2
        assert snapshot.count() == 2


def test_a_flipped_bit_is_found_before_the_file_is_opened(world: CatalogWorld) -> None:
    world.write("1", FIRST)
    world.refresh()
    file = Path(world.store.root, "catalog", "files", world.files()[0])
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorruptFile, match=r"does not hold what was committed.*delete it and run again"):
        world.catalogue.open()
    file.unlink()
    with pytest.raises(MissingFile, match=r"is missing.*delete it and run again"):
        world.catalogue.open()
    assert world.refresh().inserted == 2
    assert set(titles(world)) == {"art:a", "art:b"}


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_a_refresh_makes_a_damaged_file_anew(world: CatalogWorld, damage: str) -> None:
    world.write("1", FIRST)
    world.refresh()
    file = Path(world.store.root, "catalog", "files", world.files()[0])
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if damage == "flip" else data[:100])
    world.write("2", SECOND)
    report = world.refresh()
    assert (report.generation, report.inserted, report.rows) == (2, 3, 3)
    assert any("is made anew" in line for line in world.log)


def test_a_refresh_that_has_nothing_to_take_in_heals_a_damaged_file_all_the_same(world: CatalogWorld) -> None:
    world.write("1", FIRST)
    world.refresh()
    file = Path(world.store.root, "catalog", "files", world.files()[0])
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    report = world.refresh()
    assert (report.generation, report.inserted, report.rows) == (2, 2, 2)
    assert titles(world) == {"art:a": "First a", "art:b": "First b"}
    assert not world.refresh().changed


def test_force_makes_all_anew(world: CatalogWorld) -> None:
    world.write("1", FIRST)
    world.refresh()
    world.context = replace(world.context, force=True)
    report = world.refresh()
    assert (report.generation, report.inserted, report.rows) == (2, 2, 2)
    assert (world.catalogue.numbers(), len(world.files())) == ([2], 1), "nothing of the older ones is left"


def test_another_layout_is_made_anew_and_a_newer_one_refused(
    world: CatalogWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write("1", FIRST)
    world.refresh()
    base = world.catalogue.latest()
    assert base is not None
    world.catalogue.commit(base, replace(base, layout=0))
    with pytest.raises(IndexUnavailable, match="older release"):
        world.catalogue.open()
    assert world.refresh().inserted == 2
    newest = world.catalogue.latest()
    assert newest is not None
    following = replace(newest, version=newest.version + 1, layout=99)
    world.catalogue.versions.create(following.version, following.to_document())
    for act in (world.catalogue.open, world.refresh):
        with pytest.raises(FormatTooNew, match="Upgrade"):
            act()


def test_who_loses_the_race_plans_again(world: CatalogWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write("1", FIRST)
    commit, rivals = Catalogue.commit, [make_catalog_world(tmp_path, cache="other")]

    def race(self: Catalogue, base: CatalogueManifest | None, following: CatalogueManifest) -> CatalogueManifest:
        if rivals:
            rivals.pop().refresh()
        return commit(self, base, following)

    monkeypatch.setattr(Catalogue, "commit", race)
    report = world.refresh()
    assert (report.generation, report.changed, report.rows) == (1, False, 2), "the other one had done it"
    assert len(world.files()) == 1, "what was written in vain is taken back"


def test_who_loses_every_race_says_so_and_leaves_no_file(world: CatalogWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write("1", FIRST)
    tries = []

    def lose(*_: object) -> None:
        tries.append(1)
        raise CommitConflict("another was first")

    monkeypatch.setattr(Catalogue, "commit", lose)
    with pytest.raises(CommitConflict, match="another was first"):
        world.refresh()
    assert (len(tries), world.files()) == (RACES, [])


def test_a_stop_leaves_the_catalogue_as_it_was(world: CatalogWorld) -> None:
    world.write("1", FIRST)
    world.refresh()
    world.write("2", SECOND)
    world.context.stop.set()
    with pytest.raises(Stopped):
        world.refresh()
    assert (world.catalogue.numbers(), len(world.files())) == ([1], 1)
    assert not (world.store.cache / "catalog" / "making").exists()
    world.context.stop.clear()
    assert world.refresh().rows == 3


CHILD = """
import sys
from pathlib import Path
from embeddings_dagster_tests.stages.catalog_world import make_catalog_world
make_catalog_world(Path(sys.argv[1])).refresh()
"""


@pytest.mark.parametrize(
    ("step", "committed"),
    [
        ("write:begun", False),
        ("write:temporary", False),
        ("write:published", False),
        ("catalogue:written", False),
        ("create:temporary:2", False),  # the first one is the probe whether the storage is exclusive
        ("create:linked:2", True),
        ("manifest:created", True),
    ],
)
def test_a_kill_at_any_step_leaves_the_old_generation_or_the_new_one(
    world: CatalogWorld, tmp_path: Path, step: str, committed: bool
) -> None:
    world.write("1", FIRST)
    world.refresh()
    world.write("2", SECOND)
    environment = {**os.environ, KILL_AT: step}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], env=environment, cwd=root, check=False)
    assert done.returncode == -9
    old = {"art:a": "First a", "art:b": "First b"}
    new = {"art:a": "First a", "art:b": "Second b", "art:c": "Second c"}
    assert titles(world) == (new if committed else old)
    report = world.refresh()
    assert report.changed != committed
    assert titles(world) == new
    world.write("2", {})
    assert world.refresh().removed == 1, "what is derived was made anew where it did not fit"
    assert titles(world) == old
    assert not (world.store.cache / "catalog" / "making").exists()


def test_it_lives_on_an_object_store_too(tmp_path: Path) -> None:
    world = make_catalog_world(tmp_path, data=f"memory://{tmp_path}")
    world.write("1", FIRST)
    world.refresh()
    assert titles(world) == {"art:a": "First a", "art:b": "First b"}
    for number in range(5):
        world.write("2", {"art:c": Item({"title": str(number)})})
        world.refresh()
        assert titles(world)["art:c"] == str(number)
    copies = list((tmp_path / "cache" / "fetched" / "catalog" / "files").iterdir())
    assert len(copies) <= catalogue_module.KEPT, "copies go with what they are copies of"
    copies[0].write_bytes(b"damaged")
    assert titles(world)["art:c"] == "4"


def test_a_copy_of_the_file_opens_with_plain_sqlite(world: CatalogWorld) -> None:
    world.write("1", FIRST)
    world.refresh()
    file = Path(world.store.root, "catalog", "files", world.files()[0])
    connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)
    assert connection.execute("select image_id from images order by 1").fetchall() == [("art:a",), ("art:b",)]
    assert connection.execute("select count(*) from searched where searched match 'first'").fetchone() == (2,)
    connection.close()
