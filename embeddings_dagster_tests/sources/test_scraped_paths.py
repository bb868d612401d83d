import os
import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.errors import BadRecord
from embeddings_dagster.sources.scraped.paths import PathReader, is_folder_name

BATCH = "batch_20240131_235959"
READER = PathReader(("/data/shop/scraped", "/mnt/disk/scraped"))


def home(path: str, folder: str = BATCH) -> str:
    return READER.home(READER.readings(path, folder), folder)


@pytest.mark.parametrize(
    ("path", "folder", "wanted"),
    [
        ("images/1/0.jpg", BATCH, f"{BATCH}/images/1/0.jpg"),
        ("./images//1/./0.jpg", BATCH, f"{BATCH}/images/1/0.jpg"),
        ("images\\1\\0.jpg", BATCH, f"{BATCH}/images/1/0.jpg"),
        (f"{BATCH}/images/1/0.jpg", BATCH, f"{BATCH}/images/1/0.jpg"),
        (f"scraped/{BATCH}/images/1/0.jpg", BATCH, f"{BATCH}/images/1/0.jpg"),
        (f"scraped\\{BATCH}\\images\\1\\0.jpg", BATCH, f"{BATCH}/images/1/0.jpg"),
        (f"shop/scraped/{BATCH}/0.jpg", BATCH, f"{BATCH}/0.jpg"),
        (f"elsewhere/{BATCH}/0.jpg", BATCH, f"{BATCH}/0.jpg"),
        ("shared/0.jpg", BATCH, "shared/0.jpg"),
        ("shared/0.jpg", f"2024/{BATCH}", "2024/shared/0.jpg"),
        ("scraped/shared/0.jpg", BATCH, "shared/0.jpg"),
        ("images/1/0.jpg", "", "images/1/0.jpg"),
        ("scraped/images/1/0.jpg", "", "images/1/0.jpg"),
        (f"/data/shop/scraped/{BATCH}/0.jpg", BATCH, f"{BATCH}/0.jpg"),
        ("/mnt/disk/scraped/shared/0.jpg", BATCH, "shared/0.jpg"),
        (f"/home/her/old/{BATCH}/0.jpg", BATCH, f"{BATCH}/0.jpg"),
        (f"C:\\scraped\\{BATCH}\\0.jpg", BATCH, f"{BATCH}/0.jpg"),
        (f"\\\\server\\share\\{BATCH}\\0.jpg", BATCH, f"{BATCH}/0.jpg"),
        ("/home/her/scraped/images/0.jpg", "", "images/0.jpg"),
        ("été 12:30.jpg", BATCH, f"{BATCH}/été 12:30.jpg"),
    ],
)
def test_a_path_is_read_from_every_folder_it_may_start_at(path: str, folder: str, wanted: str) -> None:
    assert wanted in READER.readings(path, folder)


@pytest.mark.parametrize(
    ("path", "folder", "wanted"),
    [
        ("images/1/0.jpg", BATCH, f"{BATCH}/images/1/0.jpg"),
        (f"scraped/{BATCH}/images/1/0.jpg", BATCH, f"{BATCH}/images/1/0.jpg"),
        (f"elsewhere/{BATCH}/0.jpg", BATCH, f"{BATCH}/0.jpg"),
        ("images/1/0.jpg", "1", "1/images/1/0.jpg"),
        ("images/1/0.jpg", "images", "images/1/0.jpg"),
        ("images/1/0.jpg", "", "images/1/0.jpg"),
        (f"/old/{BATCH}/0.jpg", BATCH, f"{BATCH}/0.jpg"),
    ],
)
def test_a_missing_picture_is_expected_in_the_folder_of_its_batch(path: str, folder: str, wanted: str) -> None:
    assert home(path, folder) == wanted


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("../0.jpg", "leads upwards"),
        ("images/../../0.jpg", "leads upwards"),
        ("images\\..\\0.jpg", "leads upwards"),
        ("images/.. /0.jpg", "leads upwards"),
        ("/etc/passwd", "lies outside of the source's folder"),
        ("/data/shop/scraped", "lies outside of the source's folder"),
        ("/data/shop/scraped-2/0.jpg", "lies outside of the source's folder"),
        ("C:\\Windows\\0.jpg", "lies outside of the source's folder"),
        ("C:0.jpg", "is relative to a drive"),
        ("NUL", "names a device"),
        ("images/con.jpg", "names a device"),
        ("\\\\.\\COM1", "names a device"),
        ("a\0b.jpg", "is no path that a disk knows"),
        ("x/" * 3000, "is no path that a disk knows"),
        ("\ud800.jpg", "holds half a character"),
        ("https://img.example/0.jpg", "is an address"),
        ("file:///etc/passwd", "is an address"),
        ("./", "names no file"),
        ("/", "names no file"),
    ],
)
def test_what_names_no_file_within_the_root_is_refused(path: str, reason: str) -> None:
    with pytest.raises(BadRecord, match=reason) as caught:
        READER.readings(path, BATCH)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "path",
    [
        "C:\\Users\\me\\output\\scraped\\batch_20231231_000000\\images\\7\\0.jpg",
        "/home/me/coats/images/7/0.jpg",
        "scraped/coats/images/7/0.jpg",
        "coats/images/7/0.jpg",
    ],
)
def test_the_folder_of_an_item_is_found_whatever_its_batch_was_called(path: str) -> None:
    readings = READER.readings(path, BATCH, "7")
    assert readings[-1] == f"{BATCH}/images/7/0.jpg"


def test_the_picture_of_another_item_is_no_reading() -> None:
    for item_id in ("8", "", "..", "images/7"):
        assert f"{BATCH}/images/7/0.jpg" not in READER.readings("coats/images/7/0.jpg", BATCH, item_id)
        with pytest.raises(BadRecord, match="lies outside"):
            READER.readings("/home/me/coats/images/7/0.jpg", BATCH, item_id)


@given(
    st.text(max_size=20)
    | st.lists(st.sampled_from(["..", ".", "", "scraped", "data", "shop", BATCH, "C:", "/", "a"])).map("/".join),
    st.sampled_from(["", BATCH, f"2024/{BATCH}", "a"]),
)
def test_every_reading_of_any_path_stays_within_the_root(path: str, folder: str) -> None:
    try:
        readings = READER.readings(path, folder)
    except BadRecord:
        return
    assert readings
    assert READER.home(readings, folder) in readings
    for reading in readings:
        assert not os.path.isabs(reading)
        assert posixpath.normpath(reading) == reading
        assert not reading.startswith("..")


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        *(("7", True), ("été", True), ("a b", True), ("a:b", False), ("ab:c", True)),
        *(("a/b", True), ("a//b", False), ("a/../b", False), ("a/", False)),
        *(("a\\b", False), ("..", False), (".", False), ("", False), ("NUL", False), ("a\0", False)),
        *(("x" * 300, False), ("/a", False), ("\ud800", False)),
    ],
)
def test_an_id_is_looked_for_as_a_folder_only_if_it_stays_in_that_of_the_pictures(name: str, allowed: bool) -> None:
    assert is_folder_name(name) is allowed
