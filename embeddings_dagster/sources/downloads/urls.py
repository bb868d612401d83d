"""Addresses of pictures as strangers write them, made fit to be asked for.

A catalogue's own text stays the name of a picture in the cache; only what is sent is normalised.
"""

from ipaddress import ip_address
from urllib.parse import urldefrag, urljoin, urlsplit

import requests

CONTROLS = "".join(map(chr, range(0x21)))  # and the space: no browser sees them around an address


def normalise(url: str) -> str:
    """`url` as it is asked for: percent-encoded, the host in IDNA, without fragment; `//host/…` is read as https, and
    `&amp;`, which tables that came out of a page are full of, as `&`.

    Raises:
        ValueError: it is no web address; the message says why, without naming it.
    """
    text = url.strip().strip(CONTROLS).replace("&amp;", "&")
    if text.startswith("//"):
        text = f"https:{text}"
    try:
        scheme = text.partition(":")[0].lower() if urlsplit(text).scheme else ""
        web = scheme in ("http", "https")  # urlsplit would also see one that has line breaks in it, and requests not
        asked = str(requests.Request("GET", text).prepare().url) if web else ""
        reachable = bool(urlsplit(asked).hostname) and urlsplit(asked).port != 0
    except (requests.RequestException, ValueError) as error:
        raise ValueError("its host or port makes no sense") from error
    if not web:
        raise ValueError(f"its scheme is {scheme!r}" if scheme else "it has no scheme")
    if not reachable:
        raise ValueError("it has no host")
    return urldefrag(asked).url


def follow(url: str, location: str) -> str:
    """Where a redirect from `url` (normalised) leads, normalised.

    Raises:
        ValueError: nowhere on the web.
    """
    try:
        target = urljoin(url, location.strip())
    except ValueError as error:
        raise ValueError("its host or port makes no sense") from error
    return normalise(target)


def host_of(url: str) -> str:
    """The host of a normalised URL, in one spelling."""
    return canonical_host(urlsplit(url).hostname or "")


def place_of(url: str) -> str:
    """The host and the port of a normalised URL."""
    return urlsplit(url).netloc.rpartition("@")[2]


def canonical_host(host: str) -> str:
    """One spelling for a name or an address: lower case, no brackets, no dot at its end."""
    host = host.strip().strip("[]").rstrip(".").lower()
    try:
        return str(ip_address(host))
    except ValueError:
        return host
