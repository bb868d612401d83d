"""The pure parts of downloading: addresses, file names, robots' directives, contents."""

import threading
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from embeddings_dagster.errors import Stopped
from embeddings_dagster.images.formats import FORMATS, detect
from embeddings_dagster.sources.addresses import shown
from embeddings_dagster.sources.downloads.content import EXTENSIONS, describe, extension_of
from embeddings_dagster.sources.downloads.names import mark, slot_of, stem_of
from embeddings_dagster.sources.downloads.robots import forbidding
from embeddings_dagster.sources.downloads.urls import canonical_host, follow, normalise
from embeddings_dagster.sources.downloads.waiting import Turns

# ---- addresses


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http://shop.example/a.jpg", "http://shop.example/a.jpg"),
        ("  https://shop.example/a b.jpg\n", "https://shop.example/a%20b.jpg"),
        (
            "https://shop.example/jäckchen/ß.jpg?größe=m",
            "https://shop.example/j%C3%A4ckchen/%C3%9F.jpg?gr%C3%B6%C3%9Fe=m",
        ),
        ("https://bücher.example/a.jpg", "https://xn--bcher-kva.example/a.jpg"),
        ("https://shop.example/a%20b.jpg", "https://shop.example/a%20b.jpg"),
        ("https://shop.example/100%.jpg", "https://shop.example/100%25.jpg"),
        ("https://shop.example/a.jpg#top", "https://shop.example/a.jpg"),
        ("//cdn.shop.example/a.jpg", "https://cdn.shop.example/a.jpg"),
        ("HTTPS://Shop.example/A.jpg", "https://shop.example/A.jpg"),
        ("https://shop.example", "https://shop.example/"),
        ("https://shop.example/a\nb.jpg", "https://shop.example/a%0Ab.jpg"),
        ("https://shop.example/a.jpg?w=1&amp;h=2", "https://shop.example/a.jpg?w=1&h=2"),
    ],
)
def test_an_address_is_made_fit_to_be_asked_for(url: str, asked: str) -> None:
    assert normalise(url) == asked


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "no scheme"),
        ("nan", "no scheme"),
        ("shop.example/a.jpg", "no scheme"),
        ("file:///etc/passwd", "scheme is 'file'"),
        ("ftp://shop.example/a.jpg", "scheme is 'ftp'"),
        ("data:image/png;base64,AAAA", "scheme is 'data'"),
        ("javascript:alert(1)", "scheme is 'javascript'"),
        ("C:\\pictures\\a.jpg", "scheme is 'c'"),
        ("http://", "no sense"),
        ("http:///a.jpg", "no sense"),
        ("http://shop.example:99999/", "no sense"),
        ("http://shop.example:port/", "no sense"),
        ("http://[::1/", "no sense"),
        ("https://*.example/a.jpg", "no sense"),
    ],
)
def test_what_is_no_web_address_is_refused_with_the_reason(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        normalise(url)


@given(
    st.text(max_size=60) | st.text(max_size=40).map("http://".__add__) | st.text(max_size=40).map("http://h/".__add__)
)
@example("http://\x00/")
@example("http://a\\b@c/")
@example("http://h/\ud800")
def test_any_text_is_an_ascii_address_or_no_address(text: str) -> None:
    try:
        asked = normalise(text)
    except ValueError:
        return
    assert asked.isascii()
    assert asked.isprintable()
    assert " " not in asked
    assert asked.startswith(("http://", "https://"))
    assert normalise(asked) == asked


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/b.jpg", "http://user:pw@shop.example/b.jpg"),
        ("b c.jpg", "http://user:pw@shop.example/x/b%20c.jpg"),
        ("//cdn.example/b.jpg", "http://cdn.example/b.jpg"),
        ("https://cdn.example/b.jpg", "https://cdn.example/b.jpg"),
    ],
)
def test_a_redirect_is_followed_from_where_it_stands_and_takes_no_password_to_another_host(
    location: str, target: str
) -> None:
    assert follow("http://user:pw@shop.example/x/a.jpg", location) == target


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://user:secret@shop.example/a.jpg", "https://shop.example/a.jpg"),
        ("https://u:p@ss@shop.example/a@b.jpg", "https://shop.example/a@b.jpg"),
        (
            "https://s.example/a?w=1&X-Amz-Signature=abc&token=def#x",
            "https://s.example/a?w=1&X-Amz-Signature=…&token=…#x",
        ),
        ("https://s.example/a\r\nb\x1b[31m", "https://s.example/a\\x0d\\x0ab\\x1b[31m"),
    ],
)
def test_an_address_is_shown_without_secrets_and_without_control_characters(url: str, text: str) -> None:
    assert shown(url) == text


def test_a_long_address_is_shown_by_its_ends() -> None:
    text = shown("https://s.example/" + "x" * 5000 + "/end.jpg")
    assert len(text) == 300
    assert text.startswith("https://s.example/")
    assert text.endswith("/end.jpg")


@pytest.mark.parametrize(
    ("host", "canonical"),
    [("NAS.local.", "nas.local"), ("[::1]", "::1"), ("0:0:0:0:0:0:0:1", "::1"), ("127.0.0.1", "127.0.0.1")],
)
def test_a_host_has_one_spelling(host: str, canonical: str) -> None:
    assert canonical_host(host) == canonical


# ---- names


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("B00XYZ-1", "B00XYZ-1"),
        ("42#1", "42#1"),
        ("jäckchen \N{FOX FACE}", "jäckchen \N{FOX FACE}"),
        ('a/b\\c:d*e?f"g<h>i|j', "a%2Fb%5Cc%3Ad%2Ae%3Ff%22g%3Ch%3Ei%7Cj"),
        ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("", "%"),
        (".hidden", "%2Ehidden"),
        ("ends. ", "ends.%20"),
        ("ends.", "ends%2E"),
        ("con", "%63on"),
        ("NUL.tar", "%4EUL.tar"),
        ("com1 .x", "%63om1 .x"),
        ("console", "console"),
        ("line\nbreak\x00", "line%0Abreak%00"),
    ],
)
def test_an_id_becomes_a_file_name_that_every_system_takes(name: str, stem: str) -> None:
    assert stem_of(name) == stem


def test_a_long_id_is_cut_and_told_apart_by_its_hash() -> None:
    one, two = (stem_of("ü" * 300 + each) for each in "ab")
    assert one != two
    assert all(len(f"{mark(each, 'x')}.webp".encode()) <= 255 for each in (one, two))
    assert one.startswith("üüü")


@given(st.text())
def test_any_id_can_be_a_file(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    stem = stem_of(name)
    path = tmp_path_factory.getbasetemp() / f"{stem}.jpg"
    path.write_bytes(b"x")
    assert path.read_bytes() == b"x"
    path.unlink()
    assert len(f"{stem}.webp".encode()) <= 255
    assert not stem.startswith(".")


def test_names_that_a_disk_may_take_for_one_share_a_slot() -> None:
    assert slot_of("Ab") == slot_of("aB")
    assert slot_of("\u00e9") == slot_of("e\u0301")
    assert slot_of("a") != slot_of("b")


# ---- robots


@pytest.mark.parametrize(
    ("headers", "directive"),
    [
        ([], ""),
        (["all"], ""),
        (["noai"], "noai"),
        (["nofollow, NoImageAI"], "noimageai"),
        (["noindex"], "noindex"),
        (["max-snippet: 20, noimageindex"], "noimageindex"),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST"], ""),
        (["googlebot: noindex"], ""),
        (["googlebot: nofollow, noai"], ""),
        (["googlebot: noindex, embeddings-dagster: noai"], "noai"),
        (["embeddings-dagster: noai"], "noai"),
        (["*: noai"], "noai"),
        (["googlebot: all", "noai"], "noai"),
        (["noairplanes"], ""),
    ],
)
def test_the_robots_directives_that_forbid_a_picture(headers: list[str], directive: str) -> None:
    assert forbidding(headers, "Embeddings-Dagster/1.0 (+https://example.org)") == directive


# ---- content


def test_the_kinds_taken_are_those_that_can_be_decoded() -> None:
    assert {kind.extension for kind in FORMATS} == EXTENSIONS


@given(
    st.sampled_from([b"\xff\xd8\xff", b"II*\0", b"P6 ", b"BM", b"\0\0\0\x1cftypavif", b"RIFF1234WEBP", b""]),
    st.binary(),
)
def test_the_kind_told_is_the_one_that_the_decoder_tells(head: bytes, rest: bytes) -> None:
    kind = detect(head + rest)
    assert extension_of(head + rest) == (kind.extension if kind else None)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"<!DOCTYPE html>", "a web page (b'<!DOCTYPE html>')"),
        (b"\n <!-- shop --> <HTML lang=de>", "a web page"),
        (b"<svg xmlns='x'/>", "SVG or XML"),
        (b"%PDF-1.7 and more than that fits", "a PDF (b'%PDF-1.7 and more than t'…)"),
        (b'{"error": 1}', "JSON"),
        (b"\0\0\0\x18ftypheic", "a HEIC picture"),
        (b"", "nothing at all"),
        (b"\0" * 100, "nothing but zero bytes"),
        (b"\x1b[31m", "no kind of picture known here (b'\\x1b[31m')"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, named: str) -> None:
    assert describe(data).startswith(named)


# ---- turns


def test_a_key_is_held_by_so_many_at_once_and_others_are_not_kept_waiting() -> None:
    turns = Turns(2)
    entered = threading.Event()

    def third() -> None:
        with turns.turn("a", None):
            entered.set()

    with turns.turn("a", None), turns.turn("b", None):
        with turns.turn("a", None):
            thread = threading.Thread(target=third)
            thread.start()
            assert not entered.is_set()
        thread.join(10)
        assert entered.is_set()


def test_who_waits_for_a_turn_obeys_a_stop() -> None:
    turns, stop = Turns(1), threading.Event()
    seen: list[BaseException] = []

    def second() -> None:
        try:
            with turns.turn("a", stop):
                pass
        except Stopped as error:
            seen.append(error)

    with turns.turn("a", None):
        thread = threading.Thread(target=second)
        thread.start()
        stop.set()
        thread.join(10)
    assert len(seen) == 1


def test_turns_of_one_key_begin_no_faster_than_told() -> None:
    turns = Turns(4, per_second=50)
    began = time.monotonic()
    for _ in range(4):
        with turns.turn("a", None):
            pass
    assert time.monotonic() - began >= 3 / 50  # no machine is so slow that this fails
