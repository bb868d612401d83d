"""The cache of downloads: files that are what their rows say, names that collide with none, one request for each."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from embeddings_dagster.errors import DownloadFailed, DownloadRefused, SourceError
from embeddings_dagster.settings_sources import DownloadSettings
from embeddings_dagster.sources.downloads import Downloads
from embeddings_dagster_tests import shop as shops
from embeddings_dagster_tests.shop import Shop, open_shop, tiny_png

ONE, TWO = tiny_png(1), tiny_png(2)
GIF = b"GIF89a" + bytes(20)
CAP = 1 << 20
SETTINGS = DownloadSettings(private_hosts=["127.0.0.1"], retries=0, read_seconds=5)


@pytest.fixture
def shop() -> Iterator[Shop]:
    with open_shop() as opened:
        yield opened


@pytest.fixture
def downloads(tmp_path: Path) -> Iterator[Downloads]:
    opened = Downloads(tmp_path, SETTINGS)
    yield opened
    opened.close()


def files(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir() if each.suffix in (".png", ".gif"))


def rows(folder: Path, columns: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(folder / "urls.sqlite") as connection:
        return connection.execute(f"SELECT {columns} FROM urls ORDER BY url").fetchall()


def test_opening_and_looking_leave_the_disk_alone(tmp_path: Path) -> None:
    downloads = Downloads(tmp_path / "cache", SETTINGS)
    assert downloads.state() == ""
    assert downloads.revisions(["http://x/"]) == {}
    assert not (tmp_path / "cache").exists()


def test_a_picture_and_all_that_is_known_of_it(tmp_path: Path, shop: Shop, downloads: Downloads) -> None:
    shop["/a"] = shops.Versioned(ONE, '"abc"', "Wed, 21 Oct 2015 07:28:00 GMT")
    downloads.read("B00X#1", shop.url("/a"), CAP)
    assert (tmp_path / "B00X#1.png").read_bytes() == ONE
    columns = "url, name, file, size, etag, last_modified, revision, failure, attempts"
    (row,) = rows(tmp_path, columns)
    assert row == (
        *(shop.url("/a"), "B00X#1", "B00X#1.png", len(ONE)),
        *('"abc"', "Wed, 21 Oct 2015 07:28:00 GMT", 0, None, 0),
    )


def test_a_failure_and_all_that_is_known_of_it(tmp_path: Path, shop: Shop, downloads: Downloads) -> None:
    shop["/a"] = shops.status(503)
    for _ in range(2):
        with pytest.raises(DownloadFailed):
            downloads.read("a", shop.url("/a"), CAP)
    assert rows(tmp_path, "file, failure, why, status, attempts") == [(None, "DownloadFailed", "status", 503, 2)]
    shop["/a"] = shops.picture(ONE)
    downloads.read("a", shop.url("/a"), CAP)
    assert rows(tmp_path, "file, failure, status, attempts") == [("a.png", None, None, 0)]
    assert downloads.state() == ""


@pytest.mark.parametrize("harm", ["missing", "cut", "another", "longer"])
def test_a_damaged_file_is_fetched_again_and_said_so(
    tmp_path: Path, shop: Shop, downloads: Downloads, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    shop["/a"] = shops.picture(ONE)
    downloads.read("a", shop.url("/a"), CAP)
    path = tmp_path / "a.png"
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut": ONE[:-1], "another": TWO, "longer": ONE + b"x"}[harm])
    assert downloads.read("a", shop.url("/a"), CAP) == ONE
    assert path.read_bytes() == ONE
    assert shop.asked("/a") == 2
    assert "/a: the cached file a.png is missing or damaged" in caplog.text
    assert downloads.revisions([shop.url("/a")]) == {}


def test_a_lost_file_that_comes_back_as_another_picture_is_a_revision(
    tmp_path: Path, shop: Shop, downloads: Downloads
) -> None:
    shop["/a"] = shops.in_turn(shops.picture(ONE), shops.picture(TWO, ETag='"2"'))
    downloads.read("a", shop.url("/a"), CAP)
    (tmp_path / "a.png").unlink()
    assert downloads.read("a", shop.url("/a"), CAP) == TWO
    assert downloads.revisions([shop.url("/a")]) == {shop.url("/a"): '1:"2"'}
    assert downloads.state().endswith(":1")


def test_a_file_that_is_lost_cannot_be_had_where_downloading_is_off(tmp_path: Path, shop: Shop) -> None:
    shop["/a"] = shops.picture(ONE)
    Downloads(tmp_path, SETTINGS).read("a", shop.url("/a"), CAP)
    (tmp_path / "a.png").unlink()
    with pytest.raises(Exception, match="is not in the cache"):
        Downloads(tmp_path, SETTINGS, download=False).read("a", shop.url("/a"), CAP)


def test_two_ids_with_one_address_share_its_picture(tmp_path: Path, shop: Shop, downloads: Downloads) -> None:
    shop["/a"] = shops.picture(ONE)
    assert downloads.read("a", shop.url("/a"), CAP) == downloads.read("b", shop.url("/a"), CAP) == ONE
    assert shop.asked("/a") == 1
    assert files(tmp_path) == ["a.png"]


def test_many_threads_that_want_one_picture_fetch_it_once(tmp_path: Path, shop: Shop, downloads: Downloads) -> None:
    shop["/a"] = shops.picture(ONE)
    threads = [threading.Thread(target=downloads.read, args=(f"{n}", shop.url("/a"), CAP)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shop.asked("/a") == 1
    assert len(files(tmp_path)) == 1


def test_an_id_with_another_address_has_another_picture(tmp_path: Path, shop: Shop, downloads: Downloads) -> None:
    shop["/1"], shop["/2"] = shops.picture(ONE), shops.picture(GIF)
    downloads.read("a", shop.url("/1"), CAP)
    assert downloads.read("a", shop.url("/2"), CAP) == GIF
    assert files(tmp_path) == ["a.gif"]  # the file with the old extension is gone
    assert downloads.read("b", shop.url("/1"), CAP) == ONE  # who else has the first address fetches it again
    assert files(tmp_path) == ["a.gif", "b.png"]
    assert downloads.state() == ""


def test_ids_that_swap_their_addresses_fetch_nothing(tmp_path: Path, shop: Shop, downloads: Downloads) -> None:
    shop["/1"], shop["/2"] = shops.picture(ONE), shops.picture(TWO)
    downloads.read("a", shop.url("/1"), CAP), downloads.read("b", shop.url("/2"), CAP)
    assert downloads.read("a", shop.url("/2"), CAP) == TWO
    assert downloads.read("b", shop.url("/1"), CAP) == ONE
    assert shop.asked("/1") == shop.asked("/2") == 1


def test_ids_that_differ_in_case_alone_have_a_file_each(tmp_path: Path, shop: Shop, downloads: Downloads) -> None:
    for number, name in enumerate(("Ab", "aB", "AB", "\u00e9", "e\u0301")):
        assert downloads.read(name, shop.url(f"/many/{number}.png"), CAP) == tiny_png(number)
    for number, name in enumerate(("Ab", "aB", "AB", "\u00e9", "e\u0301")):
        assert downloads.read(name, shop.url(f"/many/{number}.png"), CAP) == tiny_png(number)
    assert len({each.casefold() for each in files(tmp_path)}) == 5
    assert "Ab.png" in files(tmp_path)
    assert sum(shop.counts.values()) == 5


@pytest.mark.parametrize("name", ["../up", "a/b", "con", "x" * 400, ".urls.sqlite", "urls.sqlite", "\N{FOX FACE}\n"])
def test_no_id_leaves_the_folder_or_harms_the_record(
    tmp_path: Path, shop: Shop, downloads: Downloads, name: str
) -> None:
    assert downloads.read(name, shop.url("/many/1.png"), CAP) == ONE
    assert downloads.read(name, shop.url("/many/1.png"), CAP) == ONE
    assert len(files(tmp_path)) == 1
    assert shop.asked("/many/1.png") == 1


def test_a_final_failure_is_asked_again_on_request_only(tmp_path: Path, shop: Shop, downloads: Downloads) -> None:
    with pytest.raises(DownloadRefused):
        downloads.read("a", shop.url("/a"), CAP)
    shop["/a"] = shops.picture(ONE)
    with pytest.raises(DownloadRefused):
        downloads.read("a", shop.url("/a"), CAP)
    assert Downloads(tmp_path, SETTINGS, retry_failed=True).read("a", shop.url("/a"), CAP) == ONE
    assert shop.asked("/a") == 2


def test_half_written_files_of_killed_processes_are_swept_and_those_of_others_are_not(
    tmp_path: Path, shop: Shop, downloads: Downloads
) -> None:
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial" / "old").write_bytes(b"x")
    os.utime(tmp_path / ".partial" / "old", (1, 1))
    (tmp_path / ".partial" / "new").write_bytes(b"x")
    downloads.read("a", shop.url("/many/1.png"), CAP)
    assert os.listdir(tmp_path / ".partial") == ["new"]


def test_a_damaged_record_is_named_with_what_to_do(tmp_path: Path, shop: Shop) -> None:
    (tmp_path / "urls.sqlite").write_bytes(b"this is no database at all, but long enough to look at" * 100)
    with pytest.raises(SourceError, match=r"urls\.sqlite: .*file is not a database.*delete it"):
        Downloads(tmp_path, SETTINGS).read("a", shop.url("/many/1.png"), CAP)


def test_a_record_of_a_newer_release_is_left_alone(tmp_path: Path, shop: Shop) -> None:
    with sqlite3.connect(tmp_path / "urls.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(SourceError, match="written by a newer release"):
        Downloads(tmp_path, SETTINGS).read("a", shop.url("/many/1.png"), CAP)


def test_a_folder_that_cannot_be_written_stops_the_work(tmp_path: Path, shop: Shop) -> None:
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(SourceError, match=r"cannot be used \(.*\); check its disk, the space on it") as raised:
        Downloads(tmp_path / "cache", SETTINGS).read("a", shop.url("/many/1.png"), CAP)
    assert "delete" not in str(raised.value), "a full disk is no reason to fetch everything again"
    cached = Downloads(tmp_path / "other", SETTINGS)
    cached.read("a", shop.url("/many/1.png"), CAP)
    (tmp_path / "other" / ".partial").rmdir()
    (tmp_path / "other" / ".partial").write_text("in the way")
    with pytest.raises(SourceError, match=r"the image cache cannot be used.*What was fetched is kept"):
        cached.read("b", shop.url("/many/2.png"), CAP)


_READER = """
import sys
from pathlib import Path
from embeddings_dagster.settings_sources import DownloadSettings
from embeddings_dagster.sources.downloads import Downloads
downloads = Downloads(Path(sys.argv[1]), DownloadSettings(private_hosts=["127.0.0.1"]))
for number in range(40):
    downloads.read(str(number), f"{sys.argv[2]}{number}.png", 1000)
"""


def test_several_processes_share_a_cache(tmp_path: Path, shop: Shop) -> None:
    command = [sys.executable, "-c", _READER, str(tmp_path), shop.url("/many/")]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [each.wait(60) for each in processes] == [0, 0, 0]
    assert len(rows(tmp_path, "url")) == 40
    before = sum(shop.counts.values())
    checked = Downloads(tmp_path, SETTINGS, download=False)
    assert [checked.read("x", shop.url(f"/many/{n}.png"), CAP) for n in range(40)] == [tiny_png(n) for n in range(40)]
    assert sum(shop.counts.values()) == before
