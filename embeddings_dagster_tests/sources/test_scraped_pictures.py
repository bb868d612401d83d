import os
from pathlib import Path

import pytest

from embeddings_dagster.errors import BadRecord, NoPicture
from embeddings_dagster.sources import Scan
from embeddings_dagster_tests.sources.scraping import item, listed, reasons, record_of, scanned, write, write_batch

BATCH = "batch_20240131_235959"


def located(scan: Scan) -> list[tuple[int, str, bool]]:
    """Ordinal and location of each picture, and whether it is there."""
    rows = scan.entries.to_pylist()
    return [(row["ordinal"], row["location"], row["size"] is not None) for row in rows]


@pytest.mark.parametrize(
    "path",
    [
        "images/1/0.jpg",
        "images\\1\\0.jpg",
        f"{BATCH}/images/1/0.jpg",
        f"scraped/{BATCH}/images/1/0.jpg",
        f"out\\scraped\\{BATCH}\\images\\1\\0.jpg",
        f"/home/her/scraped/{BATCH}/images/1/0.jpg",
        f"C:\\out\\{BATCH}\\images\\1\\0.jpg",
    ],
)
def test_a_picture_is_found_however_its_path_was_written(tmp_path: Path, path: str) -> None:
    root = tmp_path / "scraped"
    write_batch(root, BATCH, item(1, path))
    write(root, f"{BATCH}/images/1/0.jpg", b"x")
    assert located(scanned(root)) == [(0, f"{BATCH}/images/1/0.jpg", True)]
    assert record_of(root, "1").fault is None


def test_the_first_reading_that_is_there_counts(tmp_path: Path) -> None:
    write_batch(tmp_path, "2024/one", item(1, "0.jpg"))
    found = []
    for place in ("0.jpg", "2024/0.jpg", "2024/one/0.jpg"):
        write(tmp_path, place, b"x")
        found += located(scanned(tmp_path))
    assert found == [(0, "0.jpg", True), (0, "2024/0.jpg", True), (0, "2024/one/0.jpg", True)]


def test_several_pictures_are_ordinals_in_the_order_of_the_list(tmp_path: Path) -> None:
    names = ["b.jpg", "a.jpg", "c.jpg", "a.jpg"]
    write_batch(tmp_path, "one", item(1, *names))
    for name in names:
        write(tmp_path, f"one/{name}", b"x")
    assert located(scanned(tmp_path)) == [(number, f"one/{name}", True) for number, name in enumerate(names)]


@pytest.mark.parametrize("more", [{"local_image_paths": "0.jpg"}, {"local_image_path": "0.jpg"}])
def test_one_path_may_stand_for_a_list_of_one(tmp_path: Path, more: dict[str, str]) -> None:
    write_batch(tmp_path, "one", item(1, **more))
    write(tmp_path, "one/0.jpg", b"x")
    assert located(scanned(tmp_path)) == [(0, "one/0.jpg", True)]


@pytest.mark.parametrize("empty", [None, [], "", 0, {}, {"0": "0.jpg"}, float("nan")])
def test_without_a_list_the_pictures_are_those_in_the_folder_of_the_item(tmp_path: Path, empty: object) -> None:
    write_batch(tmp_path, "one", item("a 1", local_image_paths=empty))
    for name in ("10.jpg", "2.png", "0.JPG", "notes.txt", ".hidden.jpg"):
        write(tmp_path, f"one/images/a 1/{name}", b"x")
    (tmp_path / "one/images/a 1/3.jpg").mkdir()
    folder = "one/images/a 1"
    assert located(scanned(tmp_path)) == [
        (0, f"{folder}/0.JPG", True),
        (1, f"{folder}/2.png", True),
        (2, f"{folder}/10.jpg", True),
    ]


@pytest.mark.parametrize("number", ["../2", "..", "a//b", "a\\b", "NUL", "/2"])
def test_an_id_that_is_no_folder_name_leads_nowhere(tmp_path: Path, number: str) -> None:
    write_batch(tmp_path, "one", item(number))
    for folder in ("one/2", "one/images/2", "one", "one/images/a/b", "one/images/NUL", "2"):
        write(tmp_path, f"{folder}/0.jpg", b"x")
    scan = scanned(tmp_path)
    assert located(scan) == [(0, "", False)]
    assert isinstance(record_of(tmp_path, listed(scan)[0][1]).fault, NoPicture)


def test_an_id_with_slashes_is_a_folder_in_a_folder(tmp_path: Path) -> None:
    write_batch(tmp_path, "one", item("a/b"), item("a"))
    write(tmp_path, "one/images/a/b/0.jpg", b"x")
    assert [each[1:] for each in listed(scanned(tmp_path))] == [("a", 0, ""), ("a/b", 0, "one/images/a/b/0.jpg")]


def test_where_an_id_is_no_folder_the_remedy_names_none(tmp_path: Path) -> None:
    write_batch(tmp_path, "one", item(".."))
    fault = record_of(tmp_path, "..").fault
    assert str(fault) == "one/batch.json: item ..: has no local_image_paths; give it some"


def test_pictures_are_found_when_their_batch_was_renamed(tmp_path: Path) -> None:
    write_batch(tmp_path, "coats (1)", item(7, "E:\\scraped\\batch_20240101_000000\\images\\7\\0.jpg"))
    write(tmp_path, "coats (1)/images/7/0.jpg", b"x")
    assert located(scanned(tmp_path)) == [(0, "coats (1)/images/7/0.jpg", True)]


def test_an_item_without_a_picture_is_listed_with_its_fault_and_the_remedy(tmp_path: Path) -> None:
    write_batch(tmp_path, "one", item(1), item(2, image_urls=["https://img.example/2.jpg"]))
    assert [each[1:] for each in listed(scanned(tmp_path))] == [("1", 0, ""), ("2", 0, "")]
    record = record_of(tmp_path, "1")
    assert isinstance(record.fault, NoPicture)
    told = (
        "one/batch.json: item {0}: has no local_image_paths, and there is no picture in images/{0}/: put one there, or "
        "name it"
    )
    assert str(record.fault) == told.format(1)
    assert record.metadata["title"] == "Item 1"
    urls = "; its image_urls are not downloaded: a catalog source does that"
    assert str(record_of(tmp_path, "2").fault) == told.format(2) + urls


@pytest.mark.parametrize(
    ("path", "kind", "reason"),
    [
        (
            "../0.jpg",
            BadRecord,
            "'../0.jpg' leads upwards, and is not read; give a path relative to the batch's folder",
        ),
        ("/etc/passwd", BadRecord, "'/etc/passwd' lies outside of the source's folder, and is not read"),
        ("a\0.jpg", BadRecord, "'a%00.jpg' is no path that a disk knows"),
        ("NUL", BadRecord, "'NUL' names a device"),
        (None, NoPicture, "names no file; correct it"),
        ("", NoPicture, "names no file; correct it"),
        (7, NoPicture, "names no file; correct it"),
    ],
)
def test_a_path_that_makes_no_sense_is_a_fault_of_that_picture_alone(
    tmp_path: Path, path: object, kind: type, reason: str
) -> None:
    root = tmp_path / "scraped"
    write_batch(root, "one", item(1, "0.jpg", path, "2.jpg"))
    for name in ("one/0.jpg", "one/2.jpg", "0.jpg"):
        write(root, name, b"x")
    write(tmp_path, "0.jpg", b"secret")
    assert located(scanned(root)) == [(0, "one/0.jpg", True), (1, "", False), (2, "one/2.jpg", True)]
    fault = record_of(root, "1", 1).fault
    assert isinstance(fault, kind)
    assert str(fault).startswith("one/batch.json: item 1: local_image_paths[1]")
    assert reason in str(fault)
    assert record_of(root, "1", 2).fault is None


def test_a_picture_that_is_missing_is_listed_where_it_should_be_and_found_when_it_comes(tmp_path: Path) -> None:
    write_batch(tmp_path, BATCH, item(1, f"scraped/{BATCH}/images/1/0.jpg"))
    before = scanned(tmp_path)
    assert located(before) == [(0, f"{BATCH}/images/1/0.jpg", False)]
    assert before.problems == ()
    write(tmp_path, f"{BATCH}/images/1/0.jpg", b"x")
    after = scanned(tmp_path)
    assert located(after) == [(0, f"{BATCH}/images/1/0.jpg", True)]
    assert after.entries["record_hash"] == before.entries["record_hash"]


def test_links_are_followed_within_the_root_and_refused_out_of_it(tmp_path: Path) -> None:
    root = tmp_path / "scraped"
    write(root, "shared/0.jpg", b"x")
    write(tmp_path, "secret/0.jpg", b"secret")
    write_batch(root, "one", item(1, "in.jpg", "out.jpg", "in/0.jpg", "out/0.jpg", "loop.jpg"))
    write_batch(root, "two", item("in"), item("out"))
    links = {
        "one/in.jpg": "../shared/0.jpg",
        "one/out.jpg": "../../secret/0.jpg",
        "one/in": "../shared",
        "one/out": "../../secret",
        "one/loop.jpg": "loop.jpg",
        "two/images/in": "../../shared",
        "two/images/out": "../../../secret",
    }
    (root / "two/images").mkdir()
    for name, target in links.items():
        (root / name).symlink_to(target)
    assert located(scanned(root)) == [
        (0, "one/in.jpg", True),
        (1, "one/out.jpg", False),
        (2, "one/in/0.jpg", True),
        (3, "one/out/0.jpg", False),
        (4, "one/loop.jpg", False),
        (0, "two/images/in/0.jpg", True),
        (0, "", False),
    ]


def test_a_folder_or_a_pipe_in_place_of_a_picture_is_no_picture(tmp_path: Path) -> None:
    write_batch(tmp_path, "one", item(1, "folder.jpg", "pipe.jpg"))
    (tmp_path / "one/folder.jpg").mkdir()
    os.mkfifo(tmp_path / "one/pipe.jpg")
    assert [each[2] for each in located(scanned(tmp_path))] == [False, False]
    assert reasons(scanned(tmp_path)) == {}


def test_a_root_that_is_a_link_is_fine(tmp_path: Path) -> None:
    write_batch(tmp_path / "there", "one", item(1, str(tmp_path / "here/one/0.jpg")), item(2, "here/one/0.jpg"))
    write(tmp_path / "there", "one/0.jpg", b"x")
    (tmp_path / "here").symlink_to("there")
    assert located(scanned(tmp_path / "here")) == [(0, "one/0.jpg", True)] * 2
