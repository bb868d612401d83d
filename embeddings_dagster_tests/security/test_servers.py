"""Servers that lie, beyond what `sources/test_downloads.py` shows: they cost their own picture, and no more."""

import time
from pathlib import Path

import pytest

from embeddings_dagster.errors import ItemError
from embeddings_dagster.settings_sources import DownloadSettings
from embeddings_dagster.sources.downloads import Downloads
from embeddings_dagster.sources.downloads.session import open_session
from embeddings_dagster_tests.shop import Handler, open_shop, picture, raw, redirect, tiny_png

CAP = 1 << 20
PNG = tiny_png(1)


def many_headers(handler: Handler) -> None:
    handler.close_connection = True
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 5_000 + b"\r\n")


ANSWERS = {
    "a line of a header of a megabyte": raw(b"HTTP/1.1 200 OK\r\nX-A: " + b"x" * (1 << 20) + b"\r\n\r\n"),
    "five thousand headers": many_headers,
    "a length below nothing": raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"),
    "a length that is no number": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0x10\r\n\r\n<html>"),
    "a chunk of a size beyond all": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"),
    "a redirect of keywords, hours once": redirect("x:?" + "?key" * 15_000),
    "a redirect to a password": redirect("ftp://anna:pa55@example.com/?sig=s3cr3t"),
    "a redirect with a line break": raw(b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n"),
    "squeezed seven times": picture(PNG, Content_Encoding=", ".join(["gzip"] * 7)),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_lying_server_costs_its_own_picture(tmp_path: Path, answer: object) -> None:
    with open_shop() as shop:
        shop["/a"], shop["/b"] = answer, picture(PNG)  # type: ignore[assignment]
        settings = DownloadSettings(private_hosts=["127.0.0.1"], retries=0, total_seconds=20, read_seconds=5)
        downloads = Downloads(tmp_path, settings)
        began = time.process_time()
        with pytest.raises(ItemError) as told:
            downloads.read("a", shop.url("/a"), CAP)
        assert time.process_time() - began < 5, "seconds of work"
        assert "pa55" not in str(told.value)
        assert "s3cr3t" not in str(told.value)
        assert str(told.value).isprintable()
        assert len(str(told.value)) < 1_000
        assert downloads.read("b", shop.url("/b"), CAP) == PNG
        downloads.close()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0", "[::1]", "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "[fe80::1]", "[fc00::1]",
        "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "100.64.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "[ff02::1]",
        "localhost", "localhost.", "１２７.0.0.1",
    ],
)  # fmt: skip
def test_no_spelling_of_an_address_of_this_network_is_asked(tmp_path: Path, host: str) -> None:
    with open_shop() as shop:
        downloads = Downloads(tmp_path, DownloadSettings(retries=0, connect_seconds=1, total_seconds=5))
        with pytest.raises(ItemError):
            downloads.read("a", f"http://{host}:{shop.port}/many/1.png", CAP)
        downloads.close()
        assert shop.counts.total() == 0


def test_nothing_of_the_environment_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    session = open_session(DownloadSettings())
    assert session.trust_env is False
    assert session.auth is None
    assert not session.cookies
