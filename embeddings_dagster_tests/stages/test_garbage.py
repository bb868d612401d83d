"""Collections of garbage in real stores: what goes, what stays, and what happens to those who read, write or die."""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from embeddings_dagster.errors import CommitConflict, MissingFile, StoreError, UnknownItem
from embeddings_dagster.ids import Key
from embeddings_dagster.index import Generation, GenerationManifest, Generations
from embeddings_dagster.search.opened import OpenedIndexes
from embeddings_dagster.stages import garbage as garbage_module
from embeddings_dagster.stages.embed import dataset
from embeddings_dagster.stages.garbage import Bounds, collect, find_garbage, look_for_garbage
from embeddings_dagster.stages.garbage_bounds import former_fingerprints
from embeddings_dagster.stages.index_versions import index_release, index_rollback
from embeddings_dagster.stages.models import register
from embeddings_dagster.stages.verify import verify
from embeddings_dagster.store import PartLimits, Store
from embeddings_dagster.store.litter import KINDS
from embeddings_dagster_tests.index.helpers import vector
from embeddings_dagster_tests.stages.index_world import (
    IDENTITY,
    MODEL,
    OTHER_IDENTITY,
    World,
    make_world,
    whole,
)
from embeddings_dagster_tests.store.helpers import TABLE, chain_of, row, said, writer_of

PROJECT = Path(__file__).parents[2]
NOW = Bounds(timedelta(0), 1)
WEEK = Bounds()
DAYS_8 = 8 * 24 * 3600
HEX = "0123456789abcdef" * 2


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "data", tmp_path / "cache")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two batches, written three times over, with an index that followed each time."""
    made = make_world(tmp_path)
    for version in "123":
        made.age(a=int(version), b=1)
        made.write("a", whole("1", "2", "3", version=version))
        made.write("b", whole("4", "5"))
        made.refresh()
    for batch in ("art__a", "art__b"):
        made.store.chain("rgb_images", batch).writer(TABLE, run_id="run", label={}).finish(inputs={}, total=0)
    register(made.store, MODEL, IDENTITY, made.context.settings.models[MODEL])
    return made


def files_of(store: Store) -> set[str]:
    return {path for path, _ in store.files.walk("")}


def tree(root: Path) -> dict[str, tuple[str, int]]:
    """Every file, with what it holds and when it was written."""
    return {
        str(path.relative_to(root)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def age(root: Path, seconds: float = DAYS_8) -> None:
    """Let everything there is be so much older, and each file as much older than the next as it is."""
    for path in root.rglob("*"):
        if path.is_file():
            then = path.stat().st_mtime_ns - int(seconds * 10**9)
            os.utime(path, ns=(then, then))


def rewrite(store: Store, *hashes: str) -> None:
    """A complete version for each, of which no part is in the one before."""
    for input_hash in hashes:
        writer = writer_of(chain_of(store), PartLimits())
        for image in ("art:a", "art:b"):
            writer.add([row(image, input_hash=f"{input_hash}-{image}")])
        writer.finish(inputs={}, total=2)


def referenced(world: World) -> set[str]:
    """What the newest versions need, as they say it themselves."""
    store = world.store
    generations = world.generations
    needed = generations.referenced(generations.latest()) if generations.latest() else set()
    for name in store.datasets():
        for batch in store.batches(name):
            chain = store.chain(name, batch)
            needed |= chain.referenced(chain.latest())
    ledger = store.ledger("art")
    newest = ledger.latest()
    needed |= {ledger.path(each.file) for each in newest.batches.values()} | {ledger.versions.path(newest.version)}
    return needed | {f"models/{MODEL}/manifests/00000001.json"}


def test_without_bounds_what_is_left_is_what_the_newest_versions_reference(world: World) -> None:
    before, rows = files_of(world.store), world.rows()
    found = find_garbage(world.store, NOW)
    report = collect(world.store, NOW)
    assert report.taken == found
    assert (report.failed, report.alone) == ([], [])
    assert files_of(world.store) == referenced(world) == before - {each.path for each in found}
    assert report.by_kind().keys() == {"version", "superseded"}
    assert verify(world.store) == []
    assert world.rows() == rows
    assert find_garbage(world.store, NOW) == []
    assert not [each for each in Path(world.store.root).rglob("*") if each.is_dir() and not any(each.iterdir())]


def test_by_default_nothing_young_goes_and_three_versions_stay_of_what_is_old(world: World) -> None:
    assert find_garbage(world.store, WEEK) == []
    age(Path(world.store.root))
    assert find_garbage(world.store, WEEK) == [], "there are but three complete versions of anything"
    world.write("a", whole("1", "2", "3", version="4"))
    kinds = {each.kind for each in find_garbage(world.store, Bounds(keep=2))}
    assert kinds == {"version", "superseded"}
    assert find_garbage(world.store, Bounds(timedelta(days=9), 1)) == []


def test_a_look_changes_nothing(world: World, tmp_path: Path) -> None:
    stray = tmp_path / "data" / "raw_images" / "art__a" / "parts" / f"{HEX}.parquet"
    stray.parent.mkdir(parents=True)
    stray.touch()
    (tmp_path / "data" / f".probe-{HEX}").touch()
    before = tree(tmp_path / "data")
    found = find_garbage(world.store, NOW)
    assert tree(tmp_path / "data") == before
    assert {each.kind for each in found} == {"version", "superseded", "stray", "probe"}
    assert {each.kind for each in found} <= KINDS.keys()
    assert collect(world.store, NOW).taken == found


@pytest.mark.parametrize("days", [6.9, 7.1])
def test_what_killed_writers_left_goes_when_it_is_old(store: Store, tmp_path: Path, days: float) -> None:
    rewrite(store, "one")
    chain, root = chain_of(store), tmp_path / "data"
    left = {
        f"{chain.folder}/parts/{HEX}.parquet": "stray",
        f"{chain.folder}/parts/.{HEX}.parquet.{HEX}.tmp": "temporary",
        f"{chain.folder}/manifests/.00000002.json.{HEX}.tmp": "temporary",
        f"raw_images/art__gone/parts/{HEX}.parquet": "stray",
        f"indexes/toy/0123456789ab/segments/{HEX}/index.faiss": "stray",
        f"indexes/toy/0123456789ab/deletions/{HEX}.npy": "stray",
        f"catalog/files/{HEX}.sqlite": "stray",
        f"analysis/embedding_map/toy/parts/{HEX}.parquet": "stray",
        f"models/toy/calibration/abc-1/files/{HEX}.bin": "stray",
        f"sources/art/parts/.{HEX}.parquet.{HEX}.tmp": "temporary",
        f".probe-{HEX}": "probe",
        f"..probe-{HEX}.{HEX}.tmp": "probe",
    }
    then = time.time() - days * 24 * 3600
    for path in left:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"12345")
        os.utime(root / path, (then, then))
    taken = {each.path: each.kind for each in collect(store, WEEK).taken}
    assert taken == (left if days > 7 else {})
    assert all((root / path).exists() != (days > 7) for path in left)
    assert said(chain, chain.latest()) == {Key("art:a", 0): "one-art:a", Key("art:b", 0): "one-art:b"}
    if days > 7:
        assert not (root / "indexes").is_dir() or not any((root / "indexes").rglob("segments"))


def test_what_is_not_ours_stays(store: Store, tmp_path: Path) -> None:
    rewrite(store, "one", "two")
    others = ("notes.txt", "raw_images/README", "pictures/a.tmp", "sample/parts/x.parquet", ".git/config",
              f"{chain_of(store).folder}/parts/notes.txt", f"{chain_of(store).folder}/.DS_Store",
              f"exports/clip/parts/{HEX}.parquet", f"embeddings/tiny/parts/{HEX}.parquet")  # fmt: skip
    for path in others:
        (tmp_path / "data" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / path).touch()
    collect(store, NOW)
    assert all((tmp_path / "data" / path).exists() for path in others)


def test_links_are_left_alone(store: Store, tmp_path: Path) -> None:
    rewrite(store, "one", "two")
    target = tmp_path / "elsewhere" / f"{HEX}.parquet"
    target.parent.mkdir()
    target.touch()
    parts = tmp_path / "data" / chain_of(store).folder / "parts"
    (parts / f"{HEX}.parquet").symlink_to(target)
    (tmp_path / "data" / "raw_images").symlink_to(target.parent)
    collect(store, NOW)
    assert target.exists()
    assert (parts / f"{HEX}.parquet").is_symlink()


def test_a_chain_that_somebody_is_at_work_on_is_left_alone(store: Store) -> None:
    rewrite(store, "one", "two")
    chain, before = chain_of(store), files_of(store)
    with store.lock(chain.folder):
        report = collect(store, NOW)
    assert report.taken == []
    assert [(each.place, each.why) for each in report.alone] == [
        (chain.folder, "somebody is at work on it; the next gc looks again")
    ]
    assert files_of(store) == before
    assert len(collect(store, NOW).taken) == 2


def newer_format(path: Path) -> None:
    path.write_text(path.read_text().replace('"format_version": 2', '"format_version": 3'))


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(("spoil", "why"), [(newer_format, "Upgrade embeddings-dagster"), (damaged, "does not hold")])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_nothing_goes_of_a_chain_with_a_manifest_that_cannot_be_read(
    store: Store, tmp_path: Path, spoil: Callable[[Path], None], why: str, number: int
) -> None:
    rewrite(store, "one", "two", "three")
    chain = chain_of(store)
    (tmp_path / "data" / chain.folder / "parts" / f"{HEX}.parquet").touch()
    spoil(tmp_path / "data" / chain.versions.path(number))
    before = files_of(store)
    found = look_for_garbage(store, NOW)
    report = collect(store, NOW)
    assert found.taken == report.taken == []
    assert [(each.place, why in each.why) for each in report.alone] == [(chain.folder, True)]
    assert files_of(store) == before


def test_nothing_goes_of_a_chain_that_lost_its_newest_manifests(world: World) -> None:
    """Their files look as if no manifest had ever named them, and may be all that is left of them."""
    chain = world.store.chain(dataset(MODEL, IDENTITY), "art__a")
    world.store.files.delete(chain.versions.path(chain.versions.numbers()[-1]))
    parts = {path for path in files_of(world.store) if path.startswith(f"{chain.folder}/")}
    report = collect(world.store, NOW)
    assert [each.place for each in report.alone] == [chain.folder]
    assert "manifests were lost" in report.alone[0].why
    assert parts <= files_of(world.store)


def test_a_batch_that_was_lost_and_made_anew_is_collected_like_any_other(world: World) -> None:
    """Its numbers begin with 1 again, while an index says that it took in version 3; verify finds nothing, either."""
    folder = Path(world.store.root) / world.store.chain(dataset(MODEL, IDENTITY), "art__a").folder
    shutil.rmtree(folder)
    for version in "23":
        world.write("a", whole("1", "2", "3", version=version))
    assert [each for each in verify(world.store) if "art__a" in each.batch] == []
    report = collect(world.store, NOW)
    assert report.alone == []
    first = world.store.chain(dataset(MODEL, IDENTITY), "art__a").versions.path(1)
    assert first in {each.path for each in report.taken}


def test_what_cannot_be_deleted_costs_only_itself(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite(store, "one", "two", "three")
    chain, delete = chain_of(store), store.files.delete
    stuck = chain.versions.path(1)

    def refuse(path: str) -> None:
        if path == stuck:
            raise PermissionError(13, "Permission denied", path)
        delete(path)

    monkeypatch.setattr(store.files, "delete", refuse)
    report = collect(store, NOW)
    assert report.taken == [], "no newer version, which would leave a gap, and no file that one may name"
    assert [each.place for each in report.failed] == [stuck]
    assert store.verify() == []
    monkeypatch.undo()
    taken = sorted(each.kind for each in collect(store, NOW).taken)
    assert taken == ["superseded", "superseded", "version", "version"]
    assert find_garbage(store, NOW) == []


def test_a_kill_at_any_deletion_leaves_whole_versions_and_what_the_next_one_takes(world: World, tmp_path: Path) -> None:
    world.store.files.delete_folder("models")
    for place in ("data", "cache"):
        (tmp_path / "origin").mkdir(exist_ok=True)
        (tmp_path / place).rename(tmp_path / "origin" / place)
    driver = [sys.executable, "-m", "embeddings_dagster_tests.stages.garbage_driver"]
    done = subprocess.run(
        [*driver, str(tmp_path / "origin"), str(tmp_path), "gc:version", "gc:file"],
        capture_output=True, text=True, timeout=120, check=False, cwd=PROJECT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    places = done.stdout.split()
    assert {place.rsplit(".", 1)[0] for place in places} == {"gc-version", "gc-file"}
    assert len(places) >= 12
    left = set()
    for place in places:
        killed = make_world(tmp_path / place)
        assert {each.dataset for each in verify(killed.store)} == {"models"}, "it misses the registry, as it did before"
        killed.rows()
        chain = killed.store.chain(dataset(MODEL, IDENTITY), "art__a")
        for number in chain.versions.numbers():
            assert len(chain.rows(chain.get(number))) == 3, "every version that is there can be read"
        collect(killed.store, NOW)
        left.add(frozenset(files_of(killed.store)))
        assert find_garbage(killed.store, NOW) == []
    assert len(left) == 1, "and the end is always the same"


def test_a_clock_that_is_ahead_of_the_storage_makes_nothing_older(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(store, "one", "two")
    ahead = time.time() + 30 * 24 * 3600
    monkeypatch.setattr(garbage_module.time, "time", lambda: ahead)
    assert len(find_garbage(store, Bounds(keep=1))) == 2, "by that clock"
    assert collect(store, Bounds(keep=1)).taken == []


def test_one_collection_at_a_time(store: Store) -> None:
    rewrite(store, "one", "two")
    with store.lock("gc"), pytest.raises(StoreError, match="another gc is at work"):
        collect(store, NOW)


def test_a_reader_of_a_version_that_was_given_up_is_told_to_read_the_newest(store: Store) -> None:
    rewrite(store, "one")
    chain = chain_of(store)
    old = chain.latest()
    assert old is not None
    rewrite(store, "two")
    collect(store, NOW)
    with pytest.raises(MissingFile, match=r"version 1 was given up for newer ones .* Read the newest\."):
        chain.rows(old)
    with pytest.raises(MissingFile, match=r"Read the newest\."):
        chain.get(1)
    assert said(chain, chain.latest()) == {Key("art:a", 0): "two-art:a", Key("art:b", 0): "two-art:b"}


def test_vectors_of_parts_that_went_are_found_no_more_and_never_wrong(store: Store) -> None:
    rewrite(store, "one", "two", "three")
    lookup = store.vectors("tiny", "0123456789ab")
    lookup.sync()
    wanted = [f"{each}-art:a" for each in ("one", "two", "three")]
    assert lookup.find(wanted).keys() == set(wanted), "rows that died lend their vectors"
    collect(store, NOW)
    for known in (lookup, Store.open(store.root, store.cache.parent / "other cache").vectors("tiny", "0123456789ab")):
        known.sync()
        found = known.find(wanted)
        assert found.keys() == {"three-art:a"}
        assert found["three-art:a"].vector.tolist() == row("art:a", input_hash="three-art:a")["embedding"].tolist()
    rewrite(store, "four")
    lookup.sync()
    assert lookup.find(["four-art:b"]).keys() == {"four-art:b"}


def test_a_writer_that_slept_until_its_part_was_taken_is_told_and_goes_on(store: Store) -> None:
    rewrite(store, "one")
    writer = writer_of(chain_of(store))
    create = store.files.create

    def sleep(path: str, data: bytes) -> None:
        raise OSError(5, "the laptop was closed")

    writer.add([row("art:c")])
    store.files.create = sleep  # type: ignore[method-assign]
    with pytest.raises(OSError, match="laptop"):
        writer.checkpoint()
    store.files.create = create  # type: ignore[method-assign]
    taken = [each.kind for each in collect(store, NOW).taken]  # on a machine that does not see its lock
    assert taken == ["stray"]
    with pytest.raises(CommitConflict, match="is gone: it lay there uncommitted for so long"):
        writer.finish(inputs={}, total=3)
    again = writer_of(chain_of(store))
    again.add([row("art:c")])
    again.finish(inputs={}, total=3)
    assert store.verify() == []


def test_an_index_is_planned_again_when_its_segment_was_taken(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write("a", whole("1", "2", "3", version="9"))
    slept: list[object] = []
    original = type(world.generations).commit

    def late(self: Generations, base: GenerationManifest, following: GenerationManifest) -> GenerationManifest:
        if not slept:
            slept.append(following)
            for path in world.generations.files(following) - world.generations.files(base):
                world.store.files.delete(path)
        return original(self, base, following)

    monkeypatch.setattr(type(world.generations), "commit", late)
    world.refresh()
    assert slept
    assert {key.image_id for key in world.rows()} == {f"art:{number}" for number in range(1, 6)}
    assert verify(world.store) == []


def test_an_index_that_was_rolled_back_stays_and_goes_on(world: World) -> None:
    index_rollback(world.context, MODEL, 1)
    rows = world.rows()
    taken = {each.path for each in collect(world.store, NOW).taken}
    assert world.rows() == rows
    newest = world.generations.latest()
    assert newest is not None
    assert (newest.version, newest.restores, newest.pinned) == (4, 1, True)
    assert not taken & world.generations.referenced(newest)
    index_release(world.context, MODEL)
    world.refresh()
    assert {row.input_hash for row in world.rows().values()} >= {"1@3", "2@3"}
    with pytest.raises(UnknownItem, match="has no generation 2"):
        index_rollback(world.context, MODEL, 2)
    assert verify(world.store) == []


def test_a_search_keeps_what_it_opened_and_its_pages_say_what_is_gone(world: World) -> None:
    searching = OpenedIndexes(world.store)
    before = searching.get(MODEL)
    old = Generation.open(world.generations, world.generations.get(1))
    collect(world.store, NOW)
    assert old.search(vector("1@1"), 1)[0].image_id == "art:1", "its files are open"
    assert searching.get(MODEL).generation.search(vector("1@3"), 1)[0].image_id == "art:1"
    assert before.number == 3
    with pytest.raises(UnknownItem, match="has no generation 1"):
        searching.at(MODEL, IDENTITY.fp12, 1)


def test_readers_among_writers_and_collections_see_one_state_or_are_told(store: Store) -> None:
    rewrite(store, "0")
    stop, seen, told = threading.Event(), set(), []

    def read() -> None:
        mine = Store.open(store.root, store.cache)
        while not stop.is_set():
            try:
                rows = said(chain_of(mine), chain_of(mine).latest())
            except MissingFile as error:
                told.append(str(error))
                continue
            (value,) = {str(each).partition("-")[0] for each in rows.values()}
            assert len(rows) == 2
            seen.add(value)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for each in readers:
        each.start()
    try:
        for number in range(1, 25):
            rewrite(store, str(number))
            assert collect(store, NOW).failed == []
    finally:
        stop.set()
        for each in readers:
            each.join()
    assert len(seen) > 1
    assert all("Read the newest." in each for each in told), told
    assert len(files_of(store)) == 2
    assert store.verify() == []


def test_former_fingerprints_go_only_when_asked_for_and_never_the_one_that_serves(world: World) -> None:
    settings, store = world.context.settings, world.store
    later = World(world.context, world.log, OTHER_IDENTITY)
    later.write("a", whole("1", "2"))
    later.refresh()
    assert former_fingerprints(store, settings, {MODEL: OTHER_IDENTITY}) == [], "the old one serves"
    assert former_fingerprints(store, settings, {}) == [], "which one the settings want is not known"
    (former,) = former_fingerprints(store, settings, {MODEL: IDENTITY})
    assert former.name == f"{MODEL}/{OTHER_IDENTITY.fp12}"
    assert not [each for each in collect(store, NOW).taken if OTHER_IDENTITY.fp12 in each.path]
    assert collect(store, WEEK, former=[former.name]).taken == [], "it was written just now"
    report = collect(store, NOW, former=[former.name])
    assert {each.kind for each in report.taken} == {"former"}
    assert (len(report.taken), report.bytes) == (former.files, former.bytes)
    assert not [path for path in files_of(store) if OTHER_IDENTITY.fp12 in path]
    assert verify(store) == []
    world.rows()


def make(files: Mapping[Path, int]) -> None:
    """Files of five bytes, so many days old, in folders as old."""
    for path, days in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
        then = time.time() - days * 24 * 3600
        os.utime(path, (then, then))
        os.utime(path.parent, (then, then))


def test_what_was_unfinished_on_this_machine_goes_when_it_is_old(store: Store, tmp_path: Path) -> None:
    rewrite(store, "one")
    cache, root = store.cache, tmp_path / "data"
    old = {
        cache / "uploads" / "tmpabcdefgh": "upload",
        cache / "looks" / f".pics.parquet.{HEX}.tmp": "derived",
        cache / "int8" / f".{HEX}.tmp" / "model.bin": "derived",
        cache / "openvino" / f".{HEX}.old" / "model.bin": "derived",
        cache / "tmp1234_xyz" / "check.sqlite": "derived",
        cache / "catalog" / "making" / "next.sqlite": "derived",
        cache / "vectors" / "gone-0123456789ab.sqlite": "derived",
        cache / "indexes" / "gone-0123456789ab.sqlite": "derived",
        cache / "fetched" / "indexes" / "gone" / "index.faiss": "copy",
        root / "image_cache" / "shop" / ".partial" / HEX: "download",
        root / "exports" / "clip" / ".embeddings-export-abcd" / "clip_embeddings.npy": "export",
    }
    stay = [
        cache / "vectors" / "tiny-0123456789ab.sqlite", cache / "int8" / "digest" / "model.bin", cache / "heads.sqlite",
        cache / "fetched" / chain_of(store).versions.path(1), cache / "locks" / "mine.lock",
        root / "image_cache" / "shop" / "a.jpg", root / "exports" / "clip" / "clip_embeddings.npy",
    ]  # fmt: skip
    make(dict.fromkeys(stay, 90))
    make(dict.fromkeys(old, 6))
    assert collect(store, WEEK).taken == []
    make(dict.fromkeys(old, 8))
    found = find_garbage(store, WEEK)
    report = collect(store, WEEK)
    assert report.taken == found
    assert sorted(each.kind for each in found) == sorted(old.values())
    assert report.bytes == 5 * len(old)
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in stay)


def test_what_is_young_here_is_left_alone_while_anybody_is_at_work(store: Store, tmp_path: Path) -> None:
    rewrite(store, "one")
    upload, export = store.cache / "uploads" / "tmpabcdefgh", tmp_path / "data/exports/.embeddings-export-x/a.npy"
    make({upload: 0, export: 0})
    with store.lock("raw_images/art__0002"):
        report = collect(store, NOW)
    assert upload.exists()
    assert [(each.place, each.why) for each in report.alone] == [
        (str(upload), "raw_images/art__0002 is at work, and it may be its own")
    ]
    assert not export.exists(), "an export has a lock of its own"
    make({export: 0})
    name = hashlib.sha256(os.fsencode((tmp_path / "data/exports").resolve())).hexdigest()[:16]
    with store.lock(f"exports-{name}"):
        collect(store, Bounds(timedelta(days=0), 1))
        assert export.exists()
    assert len(collect(store, NOW).taken) == 2


def test_an_object_store_is_collected_by_plain_deletes(tmp_path: Path) -> None:
    store = Store.open(f"memory://gc{tmp_path.name}", tmp_path / "cache")
    rewrite(store, "one", "two", "three")
    with store.files.writing(f"raw_images/art__gone/parts/{HEX}.parquet") as handle:
        handle.write(b"12345")
    with store.files.writing(f".probe-{HEX}") as handle:
        handle.write(b"12345")
    found = find_garbage(store, NOW)
    assert sorted(each.kind for each in found) == ["probe", "stray", "superseded", "superseded", "version", "version"]
    assert collect(store, NOW).taken == found
    chain = chain_of(store)
    latest = chain.latest()
    assert latest is not None
    assert files_of(store) == chain.referenced(latest)
    assert store.verify() == []
