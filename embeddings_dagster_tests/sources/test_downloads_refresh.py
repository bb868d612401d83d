"""Refreshing: only what changed is a new revision, and nothing that is at hand is lost."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from embeddings_dagster.errors import DownloadFailed, DownloadRefused, Stopped
from embeddings_dagster.settings_sources import DownloadSettings
from embeddings_dagster.sources.downloads import Downloads, Refreshed
from embeddings_dagster_tests import shop as shops
from embeddings_dagster_tests.shop import Answer, Shop, Versioned, open_shop, tiny_png

ONE, TWO = tiny_png(1), tiny_png(2)
GIF = b"GIF89a" + bytes(20)
CAP = 1 << 20
DAY, NEXT_DAY = "Wed, 21 Oct 2015 07:28:00 GMT", "Thu, 22 Oct 2015 07:28:00 GMT"
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


def refresh(downloads: Downloads, shop: Shop, *paths: str, stop: threading.Event | None = None) -> Refreshed:
    return downloads.refresh([(path.strip("/"), shop.url(path)) for path in paths], CAP, stop or threading.Event())


def read(downloads: Downloads, shop: Shop, path: str) -> bytes:
    return downloads.read(path.strip("/"), shop.url(path), CAP)


@pytest.mark.parametrize(("etag", "last_modified"), [('"1"', None), (None, DAY), ('W/"1"', DAY)])
def test_a_picture_that_is_the_same_is_not_sent_again(
    shop: Shop, downloads: Downloads, etag: str | None, last_modified: str | None
) -> None:
    shop["/a"] = Versioned(ONE, etag, last_modified)
    read(downloads, shop, "/a")
    assert refresh(downloads, shop, "/a") == Refreshed(asked=1, unchanged=1)
    heard = shop.headers["/a"]
    assert (heard["If-None-Match"], heard["If-Modified-Since"]) == (etag, last_modified)
    assert downloads.state() == ""
    assert read(downloads, shop, "/a") == ONE
    assert shop.asked("/a") == 2


def test_the_same_bytes_under_another_name_are_no_revision(shop: Shop, downloads: Downloads) -> None:
    shop["/a"] = answer = Versioned(ONE, '"1"')
    read(downloads, shop, "/a")
    answer.set(ONE, '"2"')
    assert refresh(downloads, shop, "/a") == Refreshed(asked=1, unchanged=1)
    assert downloads.state() == ""
    refresh(downloads, shop, "/a")
    assert shop.headers["/a"]["If-None-Match"] == '"2"'


def test_another_picture_is_a_revision_and_replaces_the_file(tmp_path: Path, shop: Shop, downloads: Downloads) -> None:
    shop["/a"] = answer = Versioned(ONE, '"1"', DAY)
    shop["/b"] = shops.picture(ONE)
    read(downloads, shop, "/a"), read(downloads, shop, "/b")
    answer.set(GIF, '"2"', NEXT_DAY)
    assert refresh(downloads, shop, "/a", "/b") == Refreshed(asked=2, unchanged=1, changed=1)
    assert read(downloads, shop, "/a") == GIF
    assert not (tmp_path / "a.png").exists()
    urls = [shop.url("/a"), shop.url("/b"), "http://unknown.example/"]
    assert downloads.revisions(urls) == {shop.url("/a"): '1:"2"'}
    states = [downloads.state()]
    answer.set(ONE)
    refresh(downloads, shop, "/a")
    states.append(downloads.state())
    assert downloads.revisions(urls) == {shop.url("/a"): "2:"}
    assert len({"", *states}) == 3
    assert Downloads(tmp_path, SETTINGS).state() == states[-1]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (shops.status(404), "answered 404"),
        (shops.status(503), "answered 503"),
        (shops.status(304, X_Robots_Tag="noai"), "noai"),
        (shops.picture(b"<html>we are closed"), "a web page"),
        (shops.truncated(TWO, 3), "ended too early"),
        (shops.reset(), "connection failed"),
        (shops.endless(), "more than"),
    ],
)
def test_a_failure_takes_nothing_away(shop: Shop, downloads: Downloads, answer: Answer, message: str) -> None:
    shop["/a"] = shops.in_turn(Versioned(ONE), answer, Versioned(ONE))
    read(downloads, shop, "/a")
    found = refresh(downloads, shop, "/a")
    assert (found.asked, found.failed) == (1, 1)
    (problem,) = found.problems
    assert problem.location == shop.url("/a")
    assert message in problem.reason
    assert "http" not in problem.reason
    assert read(downloads, shop, "/a") == ONE
    assert downloads.state() == ""
    assert refresh(downloads, shop, "/a") == Refreshed(asked=1, unchanged=1)


def test_a_picture_that_could_not_be_had_is_asked_for_again_and_is_a_revision(shop: Shop, downloads: Downloads) -> None:
    shop["/a"] = shops.in_turn(shops.status(404), shops.status(404), shops.picture(ONE))
    with pytest.raises(DownloadRefused):
        read(downloads, shop, "/a")
    assert refresh(downloads, shop, "/a").failed == 1
    assert refresh(downloads, shop, "/a") == Refreshed(asked=1, changed=1)
    assert downloads.revisions([shop.url("/a")]) == {shop.url("/a"): "1:"}
    assert read(downloads, shop, "/a") == ONE


def test_what_was_never_fetched_or_wants_to_be_left_alone_is_not_asked_for(shop: Shop, downloads: Downloads) -> None:
    shop["/a"] = shops.status(429, Retry_After="3600")
    with pytest.raises(DownloadFailed):
        read(downloads, shop, "/a")
    assert refresh(downloads, shop, "/a", "/never") == Refreshed(skipped=2)
    assert shop.asked("/a") == 1
    assert shop.asked("/never") == 0


def test_a_damaged_file_is_asked_for_without_conditions(tmp_path: Path, shop: Shop, downloads: Downloads) -> None:
    shop["/a"] = Versioned(ONE)
    read(downloads, shop, "/a")
    (tmp_path / "a.png").write_bytes(b"")
    assert refresh(downloads, shop, "/a") == Refreshed(asked=1, unchanged=1)
    assert (tmp_path / "a.png").read_bytes() == ONE


def test_an_address_that_several_ids_share_is_asked_once_and_keeps_its_file(
    tmp_path: Path, shop: Shop, downloads: Downloads
) -> None:
    shop["/a"] = shops.in_turn(shops.picture(ONE), shops.picture(TWO))
    read(downloads, shop, "/a")
    pictures = [("z", shop.url("/a")), ("a", shop.url("/a"))]
    assert downloads.refresh(pictures, CAP, threading.Event()) == Refreshed(asked=1, changed=1)
    assert (tmp_path / "a.png").read_bytes() == TWO
    assert not (tmp_path / "z.png").exists()


def test_many_are_asked_at_once_and_counted(shop: Shop, downloads: Downloads) -> None:
    paths = [f"/many/{number}.png" for number in range(60)]
    for path in paths:
        read(downloads, shop, path)
    shop["/many/7.png"] = shops.picture(ONE)
    shop["/many/8.png"] = shops.status(410)
    found = refresh(downloads, shop, *paths)
    assert (found.asked, found.unchanged, found.changed, found.failed) == (60, 58, 1, 1)


def test_a_reader_beside_a_refresh_sees_the_old_picture_or_the_new_one(shop: Shop, downloads: Downloads) -> None:
    shop["/a"] = answer = Versioned(ONE)
    read(downloads, shop, "/a")
    done = threading.Event()
    seen: set[bytes] = set()

    def reader() -> None:
        while not done.wait(0.001):
            seen.add(read(downloads, shop, "/a"))

    thread = threading.Thread(target=reader)
    thread.start()
    for number in range(10):
        answer.set((ONE, TWO)[number % 2], f'"{number}"')
        refresh(downloads, shop, "/a")
    done.set()
    thread.join()
    assert seen <= {ONE, TWO}
    assert shop.asked("/a") == 11


def test_a_stop_is_obeyed_and_what_was_found_is_kept(shop: Shop, downloads: Downloads) -> None:
    stop = threading.Event()

    def stopping(handler: shops.Handler) -> None:
        stop.set()
        shop.closing.wait(20)

    shop["/a"] = shops.in_turn(shops.picture(ONE), shops.picture(TWO))
    shop["/b"] = shops.in_turn(shops.picture(ONE), stopping)
    read(downloads, shop, "/a"), read(downloads, shop, "/b")
    refresh(downloads, shop, "/a")
    with pytest.raises(Stopped):
        refresh(downloads, shop, "/b", stop=stop)
    assert read(downloads, shop, "/a") == TWO
    assert read(downloads, shop, "/b") == ONE
    assert downloads.revisions([shop.url("/a"), shop.url("/b")]) == {shop.url("/a"): "1:"}
