"""Which addresses are connected to: public ones, the very ones that were checked, and private ones that are named."""

import socket
from pathlib import Path
from typing import Any

import pytest

from embeddings_dagster.errors import DownloadFailed, DownloadRefused, ItemError
from embeddings_dagster.settings_sources import DownloadSettings
from embeddings_dagster.sources.downloads import Downloads
from embeddings_dagster_tests import shop as shops
from embeddings_dagster_tests.shop import open_shop, tiny_png

PNG = tiny_png(7)


def told(**changes: object) -> DownloadSettings:
    quick = {"read_seconds": 5, "total_seconds": 20, "retries": 1, "retry_seconds": 0.001}
    return DownloadSettings.model_validate({**quick, **changes})


def resolver(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Let names resolve to these addresses, in turn; the list fills with the names that were asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *rest: Any, **more: Any) -> Any:
        if not host.endswith(".example"):
            return real(host, port, *rest, **more)
        asked.append(host)
        address = answers[min(len(asked), len(answers)) - 1]
        return real(address, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Where a connection was tried; none to the outside is made."""
    tried: list[tuple[Any, ...]] = []
    real = socket.socket.connect

    def connect(self: socket.socket, address: tuple[Any, ...]) -> None:
        tried.append(address)
        if not str(address[0]).startswith(("127.", "::1")):
            raise ConnectionRefusedError(111, "Connection refused")
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    return tried


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0.0.0.0", "0"),
        *("10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.0.1", "198.18.0.1"),
        *("224.0.0.1", "240.0.0.1", "255.255.255.255", "192.88.99.1"),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[::127.0.0.1]", "[fe80::1]", "[fc00::1]"),
        *("[fec0::1]", "[ff02::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[2001:db8::1]", "[100::1]", "[4000::1]"),
    ],
)
def test_a_private_or_reserved_address_is_never_connected_to(
    tmp_path: Path, connections: list[tuple[Any, ...]], host: str
) -> None:
    with pytest.raises(
        ItemError, match=r"private or reserved address; if that is meant, add .* download\.private_hosts"
    ):
        Downloads(tmp_path, told()).read("a", f"http://{host}:8080/a.png", 1000)
    assert connections == []


def test_a_name_is_judged_by_what_it_resolves_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connections: list[tuple[Any, ...]]
) -> None:
    resolver(monkeypatch, "192.168.1.7")
    with pytest.raises(DownloadRefused, match=r"its host shop\.example is at 192\.168\.1\.7, a private"):
        Downloads(tmp_path, told()).read("a", "https://shop.example/a.png", 1000)
    assert connections == []


def test_the_address_that_was_checked_is_the_one_connected_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connections: list[tuple[Any, ...]]
) -> None:
    asked = resolver(monkeypatch, "93.184.215.14", "127.0.0.1")  # rebound to a private address after the check
    with pytest.raises(DownloadFailed, match="Connection refused"):
        Downloads(tmp_path, told(retries=0)).read("a", "http://shop.example:81/a.png", 1000)
    assert asked == ["shop.example"]
    assert connections == [("93.184.215.14", 81)]


def test_every_try_is_checked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connections: list[tuple[Any, ...]]
) -> None:
    resolver(monkeypatch, "93.184.215.14", "10.0.0.1")
    with pytest.raises(DownloadRefused, match=r"is at 10\.0\.0\.1"):
        Downloads(tmp_path, told()).read("a", "http://shop.example/a.png", 1000)
    assert connections == [("93.184.215.14", 80)]


def test_a_public_ipv6_address_is_connected_to(tmp_path: Path, connections: list[tuple[Any, ...]]) -> None:
    with pytest.raises(DownloadFailed):
        Downloads(tmp_path, told(retries=0)).read("a", "http://[2606:2800:220:1::1]/a.png", 1000)
    assert [address[0] for address in connections] == ["2606:2800:220:1::1"]


@pytest.mark.parametrize(
    ("entry", "host", "allowed"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1:{port}", "127.0.0.1", True),
        ("127.0.0.1:1", "127.0.0.1", False),
        ("LocalHost", "localhost", True),
        ("http://localhost/", "localhost", True),
        ("127.0.0.1", "localhost", False),
        ("localhost", "127.0.0.1", False),
        ("127.0.0.1", "2130706433", False),
        ("10.0.0.1", "127.0.0.1", False),
    ],
)
def test_a_private_host_is_reached_where_it_is_named(tmp_path: Path, entry: str, host: str, allowed: bool) -> None:
    with open_shop() as shop:
        shop["/a"] = shops.picture(PNG)
        downloads = Downloads(tmp_path, told(private_hosts=[entry.format(port=shop.port)]))
        if allowed:
            assert downloads.read("a", shop.url("/a", host), 1000) == PNG
        else:
            with pytest.raises(DownloadRefused, match="private or reserved"):
                downloads.read("a", shop.url("/a", host), 1000)
        assert shop.asked("/a") == allowed


def test_a_private_ipv6_host_is_reached_where_it_is_named(tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    assert DownloadSettings(private_hosts=["::1"])
    with pytest.raises(DownloadFailed, match="Connection refused"):
        Downloads(tmp_path, told(private_hosts=["::1"], retries=0)).read("a", "http://[0:0::1]:1/a", 1000)
    with pytest.raises(DownloadFailed, match="Connection refused"):
        Downloads(tmp_path, told(private_hosts=["[::1]:1"], retries=0)).read("a", "http://[::1]:1/a", 1000)


def test_a_host_that_was_refused_is_asked_as_soon_as_it_is_named(tmp_path: Path) -> None:
    with open_shop() as shop:
        shop["/a"] = shops.redirect(shop.url("/b", "localhost"))
        shop["/b"] = shops.picture(PNG)
        for _ in range(2):
            with pytest.raises(DownloadRefused, match="private or reserved"):
                Downloads(tmp_path, told(private_hosts=["127.0.0.1"])).read("a", shop.url("/a"), 1000)
        assert shop.asked("/a") == 1
        hosts = ["127.0.0.1", "localhost"]
        assert Downloads(tmp_path, told(private_hosts=hosts)).read("a", shop.url("/a"), 1000) == PNG


def test_a_name_that_does_not_exist_may_exist_tomorrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(host: str, *rest: Any, **more: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    for private in ([], ["nas.example"]):
        with pytest.raises(
            DownloadFailed, match=r"its host nas\.example cannot be found \(Name or service not known\)"
        ):
            Downloads(tmp_path, told(private_hosts=private)).read("a", "http://nas.example/a.png", 1000)


def test_a_host_that_cannot_be_reached_is_given_up_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connections: list[tuple[Any, ...]]
) -> None:
    downloads = Downloads(tmp_path, told(retries=1))
    for number in range(5):
        message = "could not be reached 3 times" if number >= 3 else "Connection refused"
        with pytest.raises(DownloadFailed, match=message):
            downloads.read(str(number), f"http://user:pw@93.184.215.14/{number}.png", 1000)
    assert len(connections) == 3 * 2
    with pytest.raises(DownloadFailed, match="Connection refused"):
        downloads.read("other", "http://93.184.215.14:81/a.png", 1000)


@pytest.mark.parametrize(
    "url", ["http://a..b/", "http://" + "x" * 70 + ".example/", "nan", "http://\udcff/", "mailto:a@b"]
)
def test_an_address_that_makes_no_sense_costs_its_own_picture_only(tmp_path: Path, url: str) -> None:
    with pytest.raises(ItemError, match=r"cannot be asked for|cannot be found|no text"):
        Downloads(tmp_path, told()).read("a", url, 1000)
