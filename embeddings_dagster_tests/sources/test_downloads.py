"""What a server may answer, and what becomes of it: against a real one, with every trick it can play."""

import threading
import tracemalloc
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from embeddings_dagster.errors import DownloadFailed, DownloadRefused, NotDownloaded, Stopped, TooManyBytes
from embeddings_dagster.settings_sources import DownloadSettings
from embeddings_dagster.sources.downloads import Downloads
from embeddings_dagster_tests import shop as shops
from embeddings_dagster_tests.shop import Answer, Shop, open_shop, tiny_png

PNG = tiny_png(7)
CAP = 1 << 20
HTML = b"<!DOCTYPE html><title>Not found</title>" + b" " * 200


@pytest.fixture
def shop() -> Iterator[Shop]:
    with open_shop() as opened:
        yield opened


def told(**changes: object) -> DownloadSettings:
    quick = {"read_seconds": 5, "total_seconds": 20, "retries": 2, "retry_seconds": 0.001}
    return DownloadSettings.model_validate({"private_hosts": ["127.0.0.1"], **quick, **changes})


def read(folder: Path, shop: Shop, path: str, settings: DownloadSettings | None = None, cap: int = CAP) -> bytes:
    downloads = Downloads(folder / "cache", settings or told())
    try:
        return downloads.read(path.strip("/"), shop.url(path), cap)
    finally:
        downloads.close()


def pictures(folder: Path) -> list[str]:
    return sorted(each.name for each in (folder / "cache").iterdir() if each.suffix in (".png", ".jpg", ".gif"))


# ---- answers that are pictures


@pytest.mark.parametrize(
    ("answer", "requests"),
    [
        (shops.picture(PNG), 1),
        (shops.picture(PNG, Content_Type="text/html; charset=utf-8"), 1),
        (shops.in_turn(shops.status(503), shops.picture(PNG)), 2),
        (shops.in_turn(shops.status(502), shops.status(504), shops.picture(PNG)), 3),
        (shops.in_turn(shops.status(408), shops.picture(PNG)), 2),
        (shops.in_turn(shops.status(429, Retry_After="0"), shops.picture(PNG)), 2),
        (shops.in_turn(shops.status(503, Retry_After=formatdate(0, usegmt=True)), shops.picture(PNG)), 2),
        (shops.in_turn(shops.status(503, Retry_After="soon"), shops.picture(PNG)), 2),
        (shops.in_turn(shops.status(503, Retry_After="9" * 5000), shops.picture(PNG)), 2),
        (shops.in_turn(shops.reset(), shops.picture(PNG)), 2),
        (shops.in_turn(shops.truncated(PNG, 5), shops.picture(PNG)), 2),
        (shops.in_turn(shops.raw(b"nonsense\r\n\r\n"), shops.picture(PNG)), 2),
        (shops.in_turn(shops.raw(b""), shops.picture(PNG)), 2),
        (shops.gzip_bomb(0, PNG), 1),
    ],
    ids=[
        "as it should be",
        "lying Content-Type",
        "503 then good",
        "502, 504, good",
        "408 then good",
        "429 with Retry-After",
        "Retry-After as a date",
        "unreadable Retry-After",
        "absurd Retry-After",
        "reset then good",
        "truncated then good",
        "no HTTP then good",
        "hung up then good",
        "gzip though nobody asked",
    ],
)
def test_a_picture_is_had_whatever_it_takes_within_reason(
    tmp_path: Path, shop: Shop, answer: Answer, requests: int
) -> None:
    shop["/a"] = answer
    assert read(tmp_path, shop, "/a") == PNG
    assert shop.asked("/a") == requests
    assert read(tmp_path, shop, "/a") == PNG
    assert shop.asked("/a") == requests
    assert pictures(tmp_path) == ["a.png"]


# ---- answers that are none, for good


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (shops.status(404), "answered 404, it is not there; correct the address"),
        (shops.status(404, HTML, X_Robots_Tag="noindex"), "answered 404"),
        (shops.status(410), "gone for good"),
        (shops.status(401), "it wants a password"),
        (shops.status(403), "it may not be had"),
        (shops.status(204), "answered 204"),
        (shops.status(304), "answered 304"),
        (shops.status(302), "answered 302"),
        (shops.picture(HTML, Content_Type="text/html"), "Content-Type 'text/html'.*what came is a web page"),
        (shops.picture(HTML, Content_Type="image/jpeg"), "Content-Type 'image/jpeg'.*what came is a web page"),
        (shops.picture(b"<svg></svg>"), "SVG or XML"),
        (shops.picture(b"%PDF-1.7"), "a PDF"),
        (shops.picture(b"\x1b]0;x\x07"), r"no kind of picture known here \(b'\\x1b\]0;x\\x07'\)"),
        (shops.picture(b""), "nothing at all"),
        (shops.picture(b"\x8b\x03\x80squeezed", Content_Encoding="br"), "Content-Encoding 'br'.*no kind of picture"),
        (shops.picture(PNG, X_Robots_Tag="noai"), r"its server says 'noai' \(X-Robots-Tag\)"),
        (shops.picture(PNG, X_Robots_Tag="embeddings-dagster: noimageai"), "'noimageai'"),
        (shops.redirect("http://10.0.0.1/a.png"), "its host 10.0.0.1 is a private or reserved address"),
        (shops.redirect("http://localhost:1/a.png"), "its host localhost is at .*, a private or reserved address"),
        (shops.redirect("http://169.254.169.254/latest/meta-data/"), "169.254.169.254 is a private"),
        (shops.redirect("file:///etc/passwd"), "redirected to 'file:///etc/passwd', and its scheme is 'file'"),
        (shops.redirect("ftp://example.org/a.png"), "scheme is 'ftp'"),
        (shops.redirect("http://[/"), "no sense"),
        (shops.redirect("/a"), "redirected in a circle"),
    ],
)
def test_an_answer_that_is_final_is_refused_and_not_asked_for_again(
    tmp_path: Path, shop: Shop, answer: Answer, message: str
) -> None:
    shop["/a"] = answer
    errors = []
    for _ in range(2):
        with pytest.raises(DownloadRefused, match=message) as caught:
            read(tmp_path, shop, "/a")
        errors.append(caught.value)
    assert str(errors[0]).startswith(shop.url("/a"))
    assert str(errors[0]) == str(errors[1])
    assert str(errors[0]).isprintable()
    assert not errors[0].retryable
    assert shop.asked("/a") == 1
    assert pictures(tmp_path) == []


def test_the_body_of_a_picture_that_robots_leave_alone_is_not_read(tmp_path: Path, shop: Shop) -> None:
    def answer(handler: shops.Handler) -> None:
        handler.head(200, X_Robots_Tag="noai", Content_Length="1000000")
        shop.closing.wait(20)  # who reads the body waits for it

    shop["/a"] = answer
    with pytest.raises(DownloadRefused, match="noai"):
        read(tmp_path, shop, "/a")


def test_noai_is_ignored_on_request_even_where_it_was_heeded_before(tmp_path: Path, shop: Shop) -> None:
    shop["/a"] = shops.picture(PNG, X_Robots_Tag="noai")
    with pytest.raises(DownloadRefused, match="noai"):
        read(tmp_path, shop, "/a")
    assert read(tmp_path, shop, "/a", told(respect_noai=False)) == PNG


def test_noai_for_another_robot_is_not_for_us(tmp_path: Path, shop: Shop) -> None:
    shop["/a"] = shops.picture(PNG, X_Robots_Tag="otherbot: noai")
    assert read(tmp_path, shop, "/a") == PNG


# ---- answers that may heal


@pytest.mark.parametrize(
    ("answer", "message", "requests"),
    [
        (shops.status(503), r"answered 503; run again later \(asked 3 times\)", 3),
        (shops.status(500), "answered 500; run again later$", 1),
        (shops.status(202), "answered 202", 1),
        (shops.reset(), "the connection failed .*reset", 3),
        (shops.reset(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + PNG[:20]), "connection failed", 3),
        (shops.truncated(PNG, 1), "it ended too early", 3),
        (shops.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n" + PNG[:30]), "ended too early", 3),
        (shops.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + PNG), "ended too early", 3),
        (shops.raw(b"nonsense\r\n\r\n"), "makes no sense", 3),
        (shops.raw(b""), "hung up", 3),
        (shops.picture(PNG, Content_Length="5, 6"), "makes no sense", 3),
        (shops.picture(b"\x1f\x8b" + PNG, Content_Encoding="gzip"), "makes no sense", 3),
    ],
)
def test_an_answer_that_may_heal_is_asked_for_again_by_the_next_run(
    tmp_path: Path, shop: Shop, answer: Answer, message: str, requests: int
) -> None:
    shop["/a"] = answer
    with pytest.raises(DownloadFailed, match=message) as caught:
        read(tmp_path, shop, "/a")
    assert caught.value.retryable
    assert shop.asked("/a") == requests
    shop["/a"] = shops.picture(PNG)
    assert read(tmp_path, shop, "/a") == PNG


def test_a_silent_server_is_waited_for_as_long_as_told(tmp_path: Path, shop: Shop) -> None:
    shop["/a"] = shops.silent()
    with pytest.raises(DownloadFailed, match="silent for too long"):
        read(tmp_path, shop, "/a", told(read_seconds=0.05, retries=1))
    assert shop.asked("/a") == 2


@pytest.mark.parametrize(
    "answer",
    [
        shops.slowly(PNG, 0.02),
        shops.slowly(PNG, 0.02, declared=False),
        shops.slow_headers(0.02),
        shops.in_turn(shops.status(503), shops.slow_headers(0.02)),
        lambda handler: [handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n") for _ in iter(int, 1)],
    ],
    ids=["body", "body of unknown length", "headers", "headers of the second try", "100 Continue for ever"],
)
def test_a_picture_has_a_deadline_with_all_of_its_retries(tmp_path: Path, shop: Shop, answer: Answer) -> None:
    shop["/a"] = answer
    with pytest.raises(DownloadFailed, match=r"not whole after 0\.3 s"):
        read(tmp_path, shop, "/a", told(total_seconds=0.3))
    assert pictures(tmp_path) == []


def test_a_server_that_wants_to_be_left_alone_for_long_is(tmp_path: Path, shop: Shop) -> None:
    shop["/a"] = shops.in_turn(shops.status(429, Retry_After="3600"), shops.picture(PNG))
    with pytest.raises(DownloadFailed, match="answered 429"):
        read(tmp_path, shop, "/a")
    with pytest.raises(DownloadFailed, match=r"wants to be left alone until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d; run again"):
        read(tmp_path, shop, "/a")
    assert shop.asked("/a") == 1


# ---- size


@pytest.mark.parametrize("chunked", [False, True])
def test_an_endless_body_ends_at_the_cap_and_takes_no_more_memory(tmp_path: Path, shop: Shop, chunked: bool) -> None:
    shop["/a"] = shops.endless(chunked=chunked)
    shop["/warm"] = shops.picture(PNG)
    read(tmp_path, shop, "/warm")
    tracemalloc.start()
    try:
        with pytest.raises(TooManyBytes, match=r"has more than 4,194,304 bytes.*rgb\.max_bytes"):
            read(tmp_path, shop, "/a", cap=4 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 << 20  # a buffer may be copied once as it grows
    assert pictures(tmp_path) == ["warm.png"]


def test_a_gzip_bomb_is_unpacked_no_further_than_the_cap(tmp_path: Path, shop: Shop) -> None:
    shop["/a"] = shops.gzip_bomb(32 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(TooManyBytes):
            read(tmp_path, shop, "/a")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 << 20


def test_an_endless_redirect_is_followed_without_reading_it(tmp_path: Path, shop: Shop) -> None:
    def answer(handler: shops.Handler) -> None:
        handler.close_connection = True
        handler.head(302, Location="/b", Connection="close")
        while not shop.closing.is_set():
            handler.wfile.write(bytes(65536))

    shop["/a"], shop["/b"] = answer, shops.picture(PNG)
    assert read(tmp_path, shop, "/a") == PNG


def test_a_picture_that_declares_too_many_bytes_is_not_read(tmp_path: Path, shop: Shop) -> None:
    shop["/a"] = shops.picture(PNG, Content_Length=str(10**12))
    with pytest.raises(TooManyBytes, match=r"declares 1,000,000,000,000 bytes, and rgb\.max_bytes = 1,048,576"):
        read(tmp_path, shop, "/a")


def test_a_higher_cap_asks_again_and_a_lower_one_refuses_what_is_cached(tmp_path: Path, shop: Shop) -> None:
    shop["/a"] = shops.picture(PNG)
    for _ in range(2):
        with pytest.raises(TooManyBytes):
            read(tmp_path, shop, "/a", cap=50)
    assert shop.asked("/a") == 1
    assert read(tmp_path, shop, "/a", cap=len(PNG)) == PNG
    with pytest.raises(TooManyBytes, match="are cached"):
        read(tmp_path, shop, "/a", cap=50)
    assert shop.asked("/a") == 2


def test_a_body_longer_than_declared_is_taken_as_declared_and_spoils_no_other(tmp_path: Path, shop: Shop) -> None:
    shop["/a"] = shops.picture(PNG, Content_Length="20")
    shop["/b"] = shops.picture(tiny_png(8))
    with_both = Downloads(tmp_path / "cache", told())
    assert with_both.read("a", shop.url("/a"), CAP) == PNG[:20]  # the decoder finds that it is cut
    assert with_both.read("b", shop.url("/b"), CAP) == tiny_png(8)
    with_both.close()


# ---- redirects


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed(tmp_path: Path, shop: Shop, code: int) -> None:
    shop["/a"] = shops.redirect("/b?x=1", code)
    shop["/b?x=1"] = shops.redirect(shop.url("/c"), code)
    shop["/c"] = shops.picture(PNG)
    assert read(tmp_path, shop, "/a") == PNG


def test_redirects_are_followed_so_often_only(tmp_path: Path, shop: Shop) -> None:
    for number in range(5):
        shop[f"/{number}"] = shops.redirect(f"/{number + 1}")
    shop["/5"] = shops.picture(PNG)
    with pytest.raises(DownloadRefused, match="is redirected more than 4 times"):
        read(tmp_path, shop, "/0", told(redirects=4))
    assert read(tmp_path, shop, "/0", told(redirects=5)) == PNG


def test_a_location_in_utf8_is_understood(tmp_path: Path, shop: Shop) -> None:
    shop["/a"] = shops.redirect("/jäckchen.png".encode().decode("latin-1"))
    shop["/j%C3%A4ckchen.png"] = shops.picture(PNG)
    assert read(tmp_path, shop, "/a") == PNG


# ---- manners


def test_a_request_says_who_asks_and_keeps_no_cookie(
    tmp_path: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    shop["/a"] = shops.in_turn(shops.status(503, Set_Cookie="a=b"), shops.picture(PNG))
    read(tmp_path, shop, "/a", told(user_agent="ours/1.0"))
    heard = shop.headers["/a"]
    assert heard["User-Agent"] == "ours/1.0"
    assert heard["Accept-Encoding"] == "identity"
    assert {"Cookie", "Authorization", "If-None-Match"}.isdisjoint(heard.keys())


def test_a_password_in_an_address_is_sent_and_not_told(tmp_path: Path, shop: Shop) -> None:
    shop["/a"] = shops.redirect("http://localhost:1/b")
    url = shop.url("/a?token=abc").replace("//", "//user:secret@")
    with pytest.raises(DownloadRefused) as caught:
        Downloads(tmp_path / "cache", told()).read("a", url, CAP)
    assert shop.headers["/a?token=abc"]["Authorization"].startswith("Basic ")
    assert "secret" not in str(caught.value)
    assert "abc" not in str(caught.value)


def test_a_host_is_asked_by_so_many_at_once(tmp_path: Path, shop: Shop) -> None:
    together = threading.Barrier(2)

    def answer(handler: shops.Handler) -> None:
        with shop.working():
            together.wait(10)
            handler.reply(200, PNG)

    downloads = Downloads(tmp_path / "cache", told(per_host=2))
    threads = []
    for number in range(6):
        shop[f"/{number}"] = answer
        threads.append(threading.Thread(target=downloads.read, args=(str(number), shop.url(f"/{number}"), CAP)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert shop.busiest == 2
    assert len(pictures(tmp_path)) == 6


@pytest.mark.parametrize("path", ["/waits", "/held", "/later"])
def test_a_stop_ends_a_download_wherever_it_is(tmp_path: Path, shop: Shop, path: str) -> None:
    arrived, stop = threading.Event(), threading.Event()

    def answer(handler: shops.Handler) -> None:
        arrived.set()
        handler.close_connection = True
        shop.closing.wait(20)

    def later(handler: shops.Handler) -> None:
        arrived.set()
        handler.reply(503, Retry_After="10")

    shop["/held"] = shop["/waits"] = answer
    shop["/later"] = later
    downloads = Downloads(tmp_path / "cache", told(per_host=1), stop=stop)
    seen: list[BaseException] = []

    def work(path: str) -> None:
        try:
            downloads.read(path, shop.url(path), CAP)
        except Stopped as error:
            seen.append(error)

    threads = [
        threading.Thread(target=work, args=(each,)) for each in {"/later" if path == "/later" else "/held", path}
    ]
    for thread in threads:
        thread.start()
    assert arrived.wait(10)
    stop.set()
    for thread in threads:
        thread.join(10)
    assert len(seen) == len(threads)


def test_nothing_is_downloaded_where_that_is_off(tmp_path: Path, shop: Shop) -> None:
    shop["/a"] = shops.picture(PNG)
    with pytest.raises(NotDownloaded, match=r"/a: is not in the cache.*--download-missing") as caught:
        Downloads(tmp_path / "cache", told(), download=False).read("a", shop.url("/a"), CAP)
    assert caught.value.retryable
    assert not (tmp_path / "cache").exists()
    read(tmp_path, shop, "/a")
    assert Downloads(tmp_path / "cache", told(), download=False).read("a", shop.url("/a"), CAP) == PNG
    assert shop.asked("/a") == 1
