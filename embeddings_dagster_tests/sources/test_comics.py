import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from embeddings_dagster.errors import BadRecord, NoPicture, ReadFailed, SourceError
from embeddings_dagster.settings import Settings
from embeddings_dagster.settings_sources import ComicsSource as ComicsSettings
from embeddings_dagster.sources import LOOK, SCAN, Picture, Scan, open_source
from embeddings_dagster.sources.base import Record
from embeddings_dagster.sources.comics import ComicsSource

OLD = 1_600_000_000_000_000_000  # long before any test


class World:
    """A library in a temporary folder: specs in `specs/`, pictures in `pages/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.specs = root / "specs"
        self.pages = root / "pages"
        for folder in (self.specs, self.pages):
            folder.mkdir()
        self.picture("stray.png")

    def spec(self, name: str, value: Any = None, *, mtime: int = OLD, data: bytes | None = None) -> None:
        path = self.specs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = name.removesuffix(".json").replace("/", "\\") + ".jpg"
        default = {"page_image_path": f"E:\\lib\\{picture}", "panels": [[1, 2, 30, 40]]}
        path.write_bytes(json.dumps(default if value is None else value).encode() if data is None else data)
        os.utime(path, ns=(mtime, mtime))

    def picture(self, name: str, data: bytes = b"picture") -> None:
        path = self.pages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def source(self, *, path: str = "specs", **options: Any) -> ComicsSource:
        return ComicsSource("comics", self.root / path, images=self.pages, cache=self.root / "cache", **options)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def entries(scan: Scan) -> dict[str, dict[str, Any]]:
    return {row["local_id"]: row for row in scan.entries.to_pylist()}


def record(source: ComicsSource, scan: Scan, local_id: str) -> Record:
    return source.records("comics__0000", scan.entries)[local_id, 0]


def test_a_page_is_listed_with_its_picture_and_its_record(world: World) -> None:
    world.spec("Foo/p1.json")
    world.picture("Foo/p1.jpg", b"12345")
    os.utime(world.pages / "Foo/p1.jpg", ns=(1, OLD + 5))
    source = world.source(prefix="c_")
    scan = source.scan()
    assert scan.entries.schema == SCAN
    assert scan.entries.to_pylist() == [
        {
            "local_id": "c_Foo/p1.json",
            "item_id": "c_Foo/p1.json",
            "ordinal": 0,
            "batch": None,
            "location": "Foo/p1.jpg",
            "size": 5,
            "mtime_ns": OLD + 5,
            "etag": None,
            "record_hash": record(source, scan, "c_Foo/p1.json").digest(),
            "record_file": "./Foo/p1.json",
        }
    ]
    assert scan.problems == ()
    spec = world.specs / "Foo/p1.json"
    assert scan.files.to_pylist() == [{"location": "./Foo/p1.json", "size": spec.stat().st_size, "mtime_ns": OLD}]
    assert source.read(Picture("c_Foo/p1.json", 0, "Foo/p1.jpg"), 100) == b"12345"
    assert source.locate("Foo/p1.jpg") == str(world.pages / "Foo/p1.jpg")
    assert source.locate("./Foo/p1.json") == str(spec)


def test_the_second_look_sees_pictures_and_specs_as_the_scan_did(world: World) -> None:
    world.spec("a/p1.json")
    world.spec("a/p2.json")
    world.spec("b.json", data=b"{")
    world.picture("a/p1.jpg")
    source = world.source()
    scan = source.scan()
    seen = pa.chunked_array([scan.files["location"].combine_chunks(), scan.entries["location"].combine_chunks()])
    look = source.look(seen)
    assert look.schema == LOOK
    assert look.to_pylist() == [*scan.files.to_pylist(), *scan.entries.select(LOOK.names).to_pylist()]


def test_ids_hold_what_paths_hold_and_keep_their_case(world: World) -> None:
    names = ["Foo #1/p 100%.json", "foo #1/p 100%.json", "new\nline/é.json"]
    for name in names:
        world.spec(name, {"image": "stray.png"})
    source = world.source()
    scan = source.scan()
    assert sorted(entries(scan)) == ["Foo %231/p 100%25.json", "foo %231/p 100%25.json", "new%0Aline/é.json"]
    assert {each.fault for each in source.records("", scan.entries).values()} == {None}


def test_a_picture_that_is_missing_is_named_and_found_when_it_comes(world: World) -> None:
    world.spec("Foo/p1.json")
    source = world.source()
    (row,) = source.scan().entries.to_pylist()
    assert (row["location"], row["size"]) == ("E:/lib/Foo/p1.jpg", None)
    with pytest.raises(
        ReadFailed,
        match=r"E:/lib/Foo/p1\.jpg: not found below '.*pages' \(no file of that name is there\); put it there",
    ):
        source.read(Picture("Foo/p1.json", 0, row["location"]), 100)
    world.picture("Foo/p1.jpg")
    (found,) = source.scan().entries.to_pylist()
    assert (found["location"], found["size"]) == ("Foo/p1.jpg", 7)
    assert found["record_hash"] == row["record_hash"], "the record did not change, its picture did"


def test_a_picture_that_could_be_two_is_none_and_the_candidates_are_named(world: World) -> None:
    world.spec("p1.json", {"image": "Foo\\p1.jpg"})
    world.picture("a/Foo/p1.jpg")
    world.picture("b/foo/P1.JPG")
    world.picture("b/Foo/p1.jpg")
    source = world.source()
    (row,) = source.scan().entries.to_pylist()
    assert row["size"] is None
    with pytest.raises(ReadFailed, match=r"it could be any of 3: a/Foo/p1\.jpg, b/Foo/p1\.jpg, b/foo/P1\.JPG"):
        source.read(Picture("p1.json", 0, row["location"]), 100)


def test_a_page_of_another_book_never_stands_in(world: World) -> None:
    world.spec("Foo/p1.json")
    world.spec("Bar/p1.json")
    world.picture("Bar/p1.jpg")
    source = world.source()
    rows = entries(source.scan())
    assert (rows["Bar/p1.json"]["location"], rows["Foo/p1.json"]["size"]) == ("Bar/p1.jpg", None)
    with pytest.raises(ReadFailed, match=r"Bar/p1\.jpg may be another page's"):
        source.read(Picture("Foo/p1.json", 0, rows["Foo/p1.json"]["location"]), 100)


def test_pictures_found_in_another_folder_by_their_tail_are_told(world: World) -> None:
    for number in (1, 2):
        world.spec(f"Foo/p{number}.json")
        world.picture(f"scans/2024/Foo/p{number}.jpg")
    scan = world.source().scan()
    assert entries(scan)["Foo/p1.json"]["location"] == "scans/2024/Foo/p1.jpg"
    (problem,) = scan.problems
    assert problem.reason.endswith(
        "set sources.comics.images to its folder 'scans/2024', where they are found as a whole"
    )
    assert problem.reason.startswith("and 1 more were found by the end of their path")


@pytest.mark.parametrize(
    "image", ["../secret.jpg", "/etc/passwd", "..\\..\\secret.jpg", "link.jpg", "folder/secret.jpg"]
)
def test_nothing_outside_of_the_image_root_is_read(world: World, image: str) -> None:
    secret = world.root / "outside" / "secret.jpg"
    secret.parent.mkdir()
    secret.write_bytes(b"secret")
    (world.pages / "link.jpg").symlink_to(secret)
    (world.pages / "folder").symlink_to(secret.parent)
    world.spec("p1.json", {"image": image})
    source = world.source()
    (row,) = source.scan().entries.to_pylist()
    assert row["size"] is None
    with pytest.raises(ReadFailed):
        source.read(Picture("p1.json", 0, row["location"]), 100)
    with pytest.raises(ReadFailed):
        source.read(Picture("p1.json", 0, image), 100)


def test_a_spec_that_makes_no_sense_costs_its_page_alone(world: World) -> None:
    world.spec("a.json", {"image": "stray.png"})
    world.spec("b.json", data=b'{"image": "stray.png",\n oops}')
    world.spec("c.json", {"panels": []})
    world.spec("d.json", {"image": "stray.png"})
    source = world.source()
    scan = source.scan()
    rows = entries(scan)
    assert [rows[name]["location"] for name in ("a.json", "b.json", "c.json", "d.json")] == [
        "stray.png", "./b.json", "./c.json", "stray.png",
    ]  # fmt: skip
    fault = record(source, scan, "b.json").fault
    assert isinstance(fault, BadRecord)
    assert "b.json: is not JSON" in str(fault)
    assert "line 2, column 2" in str(fault)
    assert isinstance(record(source, scan, "c.json").fault, NoPicture)
    with pytest.raises(NoPicture, match=r"\./b\.json: this page spec names no picture"):
        source.read(Picture("b.json", 0, "./b.json"), 100)
    hashes = {row["local_id"]: row["record_hash"] for row in rows.values()}
    assert hashes == {key[0]: each.digest() for key, each in source.records("", scan.entries).items()}


def test_a_spec_that_is_listed_and_missing_is_a_page_that_can_heal(world: World) -> None:
    world.spec("p0.json")
    (world.specs / "list.txt").write_text("Foo\\p1.json\np0.json\n")
    source = world.source(path="specs/list.txt")
    scan = source.scan()
    fault = record(source, scan, "Foo/p1.json").fault
    assert isinstance(fault, ReadFailed)
    assert "there is no page spec there; put it back, or take it out of the list" in str(fault)
    world.spec("Foo/p1.json")
    world.picture("Foo/p1.jpg")
    again = source.scan()
    assert entries(again)["Foo/p1.json"]["size"] == 7
    assert record(source, again, "Foo/p1.json").fault is None


@pytest.mark.parametrize("linked", [False, True])
def test_the_list_is_among_the_files_and_can_be_looked_at(world: World, linked: bool) -> None:
    world.spec("p1.json")
    lines, path = "p1.json\n", world.specs / "100% list#1.txt"
    (world.root / "elsewhere.txt").write_text(lines)
    path.symlink_to(world.root / "elsewhere.txt") if linked else path.write_text(lines)
    source = world.source(path=f"specs/{path.name}")
    files = source.scan().files
    assert files["location"].to_pylist() == ["./p1.json", "./100%25 list%231.txt"]
    assert files["size"].to_pylist()[1] == len(lines)
    assert source.look(files["location"]).equals(files)
    path.write_text(lines * 2)
    looked = source.look(files["location"])
    assert looked["size"].to_pylist()[1] == 2 * len(lines)
    path.unlink()
    assert source.look(files["location"])["size"].to_pylist()[1] is None


def test_a_folder_without_any_spec_is_told_of(world: World) -> None:
    (problem,) = world.source().scan().problems
    assert problem.location == str(world.specs.resolve())
    assert problem.reason == "holds no page spec, which is any *.json; correct sources.comics.path, or fill it"


def test_a_list_that_names_itself_is_one_file(world: World) -> None:
    world.spec("p1.json")
    (world.specs / "list.txt").write_text("p1.json\nlist.txt\n")
    assert world.source(path="specs/list.txt").scan().files["location"].to_pylist() == ["./p1.json", "./list.txt"]


def test_a_page_spec_of_an_absurd_size_is_not_read(world: World) -> None:
    world.spec("big.json")
    os.truncate(world.specs / "big.json", 33 * 2**20)
    source = world.source()
    fault = record(source, source.scan(), "big.json").fault
    assert isinstance(fault, BadRecord)
    assert "are no page spec" in str(fault)


def test_what_was_left_out_of_a_spec_is_a_problem_at_each_look(world: World) -> None:
    world.spec("p1.json", data=b'{"image": "stray.png", "a": 1, "a": 2}')
    source = world.source()
    first, second = source.scan().problems, source.scan().problems
    assert first == second
    assert [(each.location, each.reason) for each in first] == [("p1.json", "names 'a' twice; the last counts")]


def test_the_batches_of_a_list_are_cut_by_the_ledger_and_those_of_books_are_their_folders(world: World) -> None:
    names = ["top.json", "Foo/p1.json", "Foo/p2.json", "Foo: Année 1/p1.json", "Foo/deep/p1.json", "a...b/p1.json"]
    for name in names:
        world.spec(name, {"image": "stray.png"})
    plain, books = world.source(), world.source(books=True)
    assert (plain.own_batches, books.own_batches) == (False, True)
    assert set(plain.scan().entries["batch"].to_pylist()) == {None}
    rows = entries(books.scan())
    batches = [rows[name.replace("\n", "")]["batch"] for name in names]
    assert batches[1] == batches[2] == "comics__Foo"
    assert batches[3].startswith("comics__Foo-Ann-e-1-")
    assert len(set(batches)) == 5
    order = list(
        zip(books.scan().entries["batch"].to_pylist(), books.scan().entries["local_id"].to_pylist(), strict=True)
    )
    assert order == sorted(order)
    assert all("..." not in each for each in batches)


def test_a_spec_that_did_not_change_is_not_read_again(world: World) -> None:
    world.spec("p1.json")
    world.spec("p2.json")
    world.picture("p1.jpg")
    source = world.source()
    before = source.scan()
    spec = world.specs / "p1.json"
    size = spec.stat().st_size
    spec.write_bytes(b"?" * size)
    os.utime(spec, ns=(OLD, OLD))
    assert source.scan().entries.equals(before.entries), "size and mtime are the same, so nobody looked inside"
    os.utime(spec, ns=(OLD, OLD + 1))
    assert entries(source.scan())["p1.json"]["location"] == "./p1.json"
    spec.unlink()
    world.spec("p2.json", {"image": "stray.png"}, mtime=OLD + 7)
    (row,) = source.scan().entries.to_pylist()
    assert (row["local_id"], row["location"]) == ("p2.json", "stray.png")


def test_a_spec_that_has_only_just_been_written_is_read_again(world: World) -> None:
    world.spec("p1.json", {"image": "aaaaa.png"})
    spec = world.specs / "p1.json"
    os.utime(spec)
    stamp = spec.stat().st_mtime_ns
    source = world.source()
    source.scan()
    spec.write_text(json.dumps({"image": "stray.png"}))
    os.utime(spec, ns=(stamp, stamp))
    assert entries(source.scan())["p1.json"]["location"] == "stray.png"


@pytest.mark.parametrize("damage", ["deleted", "garbage", "locked"])
def test_what_is_remembered_may_be_lost_at_any_time(world: World, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world.spec("Foo/p1.json")
    source = world.source()
    before = source.scan()
    database = world.root / "cache" / "comics" / "comics.sqlite"
    assert database.exists()
    if damage == "garbage":
        database.write_bytes(b"no database" * 1000)
    else:
        database.unlink()
    if damage == "locked":
        database.mkdir()
    assert source.scan().entries.equals(before.entries)
    with pytest.raises(ReadFailed, match="not found below"):
        source.read(Picture("Foo/p1.json", 0, "E:/lib/Foo/p1.jpg"), 10)


def test_rules_of_another_release_are_not_taken_for_these(world: World) -> None:
    world.spec("p1.json", {"image": "stray.png"})
    source = world.source()
    source.scan()
    with sqlite3.connect(world.root / "cache" / "comics" / "comics.sqlite") as database:
        tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
    assert tables == {"specs_1", "unfound_1"}


def test_an_image_root_that_is_missing_or_empty_is_an_error_and_no_removal(world: World) -> None:
    world.spec("p1.json")
    (world.pages / "stray.png").unlink()
    with pytest.raises(SourceError, match=r"holds no file, where 1 pictures should be; mount it, or correct sources"):
        world.source().scan()
    world.pages.rmdir()
    with pytest.raises(
        SourceError, match=r"'.*pages' does not exist; mount or create it, or correct sources\.comics\.images"
    ):
        world.source().scan()


def test_the_settings_open_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.spec("Foo/p1.json")
    world.picture("../specs/Foo/p1.jpg")
    comics = {"beside": ComicsSettings(kind="comics", path=world.specs, batches="book", prefix="x-"),
              "apart": ComicsSettings(kind="comics", path=world.specs, images=world.pages)}  # fmt: skip
    settings = Settings(data=str(tmp_path / "data"), sources=comics)
    (row,) = open_source("beside", settings).scan().entries.to_pylist()
    assert (row["local_id"], row["location"], row["batch"]) == ("x-Foo/p1.json", "Foo/p1.jpg", "beside__Foo")
    (row,) = open_source("apart", settings).scan().entries.to_pylist()
    assert (row["location"], row["size"], row["batch"]) == ("E:/lib/Foo/p1.jpg", None, None)
    assert (tmp_path / "data" / "cache" / "comics" / "apart.sqlite").exists()
