"""The demo's shop: it serves its photos while it is open, and its catalogue stays as it is from demo to demo."""

import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from embeddings_dagster.demo import find_sample, open_shop

SHOP = find_sample().folder / "shop"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A demo's folder, whose catalogue leads to a port of this test's own: others may want the usual one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = (SHOP / "products.csv").read_text().replace(":8765/", f":{port}/")
    (tmp_path / "products.csv").write_text(text)
    return tmp_path


def addresses(folder: Path) -> list[str]:
    lines = (folder / "products.csv").read_text().splitlines()[1:]
    return [field for line in lines for field in line.split(",") if field.endswith(".jpg")]


def test_every_address_of_its_catalogue_is_answered_while_it_is_open(place: Path) -> None:
    with open_shop(SHOP, place):
        urls = addresses(place)
        assert len(urls) > 30
        for url in urls:
            with urllib.request.urlopen(url) as answer:
                assert answer.read() == (SHOP / "photos" / url.rpartition("/")[2]).read_bytes()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(urls[0])


def test_nothing_else_is_served(place: Path) -> None:
    with open_shop(SHOP, place):
        base = addresses(place)[0].partition("/photos/")[0]
        for path in ("/products.csv", "/photos/../products.csv", "/photos/", "/photos/%2e%2e/products.csv", "/"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(base + path)


def test_a_second_demo_finds_the_catalogue_unchanged(place: Path) -> None:
    with open_shop(SHOP, place):
        first = (place / "products.csv").stat()
    with open_shop(SHOP, place):
        assert (place / "products.csv").stat() == first


def test_where_the_port_is_taken_the_catalogue_leads_to_another(place: Path) -> None:
    with open_shop(SHOP, place):
        before = addresses(place)[0]
    with socket.create_server(("127.0.0.1", int(before.split(":")[2].partition("/")[0]))), open_shop(SHOP, place):
        after = addresses(place)[0]
        assert after != before
        with urllib.request.urlopen(after) as answer:
            assert answer.status == 200
