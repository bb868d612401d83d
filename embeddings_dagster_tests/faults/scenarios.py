"""What is done while the disk fails: everything the project commits, each from an old state to a new one.

A scenario prepares the old state once, with sound files; `act` brings it to the new one, on files that may fail; `says`
is what a reader sees. Names and times that differ from one try to the next are left out of that.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from embeddings_dagster.exports import Wanted, export_npy
from embeddings_dagster.settings import load_settings
from embeddings_dagster.stages.compact import compact_index
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.duplicates import duplicates_of, refresh_duplicates
from embeddings_dagster.stages.embedding_map import map_of, refresh_map
from embeddings_dagster.stages.models import records, register
from embeddings_dagster.store import Store
from embeddings_dagster.store.files import Files
from embeddings_dagster_tests.exports.shelf import make_shelf
from embeddings_dagster_tests.index.helpers import vector
from embeddings_dagster_tests.stages.catalog_world import Item, make_catalog_world
from embeddings_dagster_tests.stages.index_world import IDENTITY, MODEL, OTHER_IDENTITY, World, make_world, whole
from embeddings_dagster_tests.stages.small_project import SmallProject, small_project
from embeddings_dagster_tests.stages.test_models import SETTINGS
from embeddings_dagster_tests.store.crash_driver import (
    FIRST,
    FIRST_FAILED,
    PART,
    bring_to_second,
    ledger_table,
)
from embeddings_dagster_tests.store.helpers import chain_of, row, said, writer_of

DATA, CACHE = "data", "cache"

Said = Mapping[str, object]


class Scenario(NamedTuple):
    """`prepare(place)`, `act(place, files)`, `says(place)`: what is committed by itself, by name."""

    prepare: Callable[[Path], None]
    act: Callable[[Path, Files], object]
    says: Callable[[Path], Said]


def sound(place: Path) -> Store:
    return Store.open(place / DATA, place / CACHE)


def on(context: StageContext, files: Files) -> StageContext:
    """The same, with a store on other files."""
    return replace(context, store=Store(files, context.store.cache))


# A batch: parts, failures, dead rows, a fold.


def first_batch(place: Path) -> None:
    writer = writer_of(chain_of(sound(place)))
    for image, input_hash in FIRST.items():
        writer.add([row(image, input_hash=input_hash)])
    writer.fail(FIRST_FAILED)
    writer.finish(inputs={}, total=len(FIRST) + 1)


def second_batch(place: Path, files: Files) -> None:
    bring_to_second(writer_of(chain_of(Store(files, place / CACHE)), PART), place / "made")


def says_batch(place: Path) -> Said:
    chain = chain_of(sound(place))
    return {"rows": said(chain, chain.latest())}


# A ledger of three batches.


def first_ledger(place: Path) -> None:
    sound(place).ledger("art").commit(None, {name: ledger_table(name, 1) for name in "ab"}, run_id="first")


def second_ledger(place: Path, files: Files) -> None:
    ledger = Store(files, place / CACHE).ledger("art")
    ledger.commit(ledger.latest(), {name: ledger_table(name, 2) for name in "abc"}, run_id="second")


def says_ledger(place: Path) -> Said:
    ledger = sound(place).ledger("art")
    manifest = ledger.latest()
    assert manifest is not None
    return {"rows": {name: ledger.rows(manifest, name).column("size").to_pylist() for name in manifest.batches}}


# The stages of a folder of pictures: a new one, a changed one, one that is gone, one that is none.


def first_pictures(place: Path) -> None:
    small_project(place).step("first")


def again(place: Path) -> SmallProject:
    """The project that is there."""
    moved = place / "pics"
    moved.rename(place / "kept")
    project = small_project(place)
    for each in moved.iterdir():
        each.unlink()
    moved.rmdir()
    (place / "kept").rename(moved)
    return project


def second_pictures(place: Path, files: Files) -> None:
    project = again(place)
    project.context = on(project.context, files)
    if (project.pics / "b.png").exists():
        project.paint("a.png", "green")
        project.paint("d.png", "white")
        (project.pics / "b.png").unlink()
    project.step("second")


def says_pictures(place: Path) -> Said:
    store = sound(place)
    found = {}
    for name in ("raw_images", "rgb_images"):
        chain = store.chain(name, "pics__000001")
        manifest = chain.latest()
        assert manifest is not None
        made = chain.rows(manifest, ("image_id", "width")).to_pylist()
        failed = [(each.image_id, each.error_class) for each in chain.failures(manifest)]
        found[name] = (sorted(each["image_id"] for each in made), sorted(failed))
    return found


# An index: a segment more, rows of others dead. And its segments become one.


def first_index(place: Path) -> World:
    world = make_world(place)
    world.age(one=1, two=2)
    for one, two in ((whole("a", "b", "gone"), {}), (whole("a", "b", "gone", "c"), whole("z"))):
        world.write("one", one)
        world.write("two", two)
        world.refresh()
    return world


def changed_index(place: Path) -> None:
    world = first_index(place)
    world.write("one", {**whole("a", "c"), **whole("b", version="2"), "art:page": {0: "page", 1: "panel"}})


def second_index(place: Path, files: Files) -> None:
    world = make_world(place)
    world.context = on(world.context, files)
    world.refresh()


def says_index(place: Path) -> Said:
    world = make_world(place)
    generation = world.open()
    hits = generation.search(vector("q"), 1_000, generation.selection(regions="all"))
    return {"index": (world.rows(), [(hit.image_id, hit.region, hit.score) for hit in hits])}


def scattered_index(place: Path) -> None:
    world = first_index(place)
    for number in range(3):
        world.write("two", whole("z", *(f"more{each}" for each in range(number + 1))))
        world.refresh()


def compacted(place: Path, files: Files) -> None:
    compact_index(on(make_world(place).context, files), MODEL, IDENTITY)


# The search catalogue.


def first_catalogue(place: Path) -> None:
    world = make_catalog_world(place)
    world.write("one", {"art:a": Item({"title": "red coat"}, text="red"), "art:b": Item({"title": "blue hat"})})
    world.refresh()
    world.write("one", {"art:a": Item({"title": "green coat"}, text="green"), "art:c": Item({"price": 3})}, ["art:b"])


def second_catalogue(place: Path, files: Files) -> None:
    world = make_catalog_world(place)
    world.context = on(world.context, files)
    world.refresh()


def says_catalogue(place: Path) -> Said:
    records = make_catalog_world(place).records()
    return {"records": {key: (record.metadata, record.text) for key, record in records.items()}}


# Analyses of an index.


def second_analyses(place: Path, files: Files) -> None:
    context = on(make_world(place).context, files)
    refresh_duplicates(context, MODEL)
    refresh_map(context, MODEL)


def analysed_index(place: Path) -> None:
    world = first_index(place)
    register(world.store, MODEL, IDENTITY, SETTINGS)
    refresh_duplicates(world.context, MODEL)
    refresh_map(world.context, MODEL)
    world.write("two", whole("z", "y"))
    world.refresh()


def says_analyses(place: Path) -> Said:
    store = sound(place)
    found = {}
    for analysis in (duplicates_of(store), map_of(store, MODEL)):
        manifest = analysis.latest()
        assert manifest is not None
        assert analysis.faults(manifest, again=True) == {}
        found[analysis.name] = manifest.told
    return found


# The registry of models.


def first_registry(place: Path) -> None:
    register(sound(place), MODEL, IDENTITY, SETTINGS)


def second_registry(place: Path, files: Files) -> None:
    register(Store(files, place / CACHE), MODEL, OTHER_IDENTITY, SETTINGS)


def says_registry(place: Path) -> Said:
    known = records(sound(place), MODEL)
    return {"registry": [(each.fingerprint, each.serving, dict(each.settings)) for each in known]}


# An export, of which the store is read and the place is sound.


def first_export(place: Path) -> None:
    shelf = make_shelf(place)
    file = place / "embeddings.yaml"
    file.write_text(file.read_text().replace(str(place), "."))  # which is copied from here
    shelf.put("art:1.png", "art:2.png")
    shelf.catalogue({"art:1.png": {"title": "one"}, "art:2.png": {"title": "two"}})
    export_npy(shelf.context, Wanted(), place / "out" / "art.npy")
    shelf.put("art:3.png")


def second_export(place: Path, files: Files) -> None:
    settings = load_settings(place / "embeddings.yaml")
    store = Store(files, settings.cache_root)
    export_npy(StageContext(settings, store, "run"), Wanted(), place / "out" / "art.npy")


def says_export(place: Path) -> Said:
    files = sorted((place / "out").iterdir())
    return {"files": {each.name: sha256(each.read_bytes()).hexdigest() for each in files if each.suffix == ".npy"}}


SCENARIOS = {
    "batch": Scenario(first_batch, second_batch, says_batch),
    "ledger": Scenario(first_ledger, second_ledger, says_ledger),
    "pictures": Scenario(first_pictures, second_pictures, says_pictures),
    "index": Scenario(changed_index, second_index, says_index),
    "compaction": Scenario(scattered_index, compacted, says_index),
    "catalogue": Scenario(first_catalogue, second_catalogue, says_catalogue),
    "analyses": Scenario(analysed_index, second_analyses, says_analyses),
    "registry": Scenario(first_registry, second_registry, says_registry),
    "export": Scenario(first_export, second_export, says_export),
}
