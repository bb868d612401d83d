"""The HTTP client: requests, hardened. It reaches public addresses only, whatever a name resolves to, and takes nothing
from the environment: no proxy, no netrc, no cookie.

requests-hardened resolves a name once, refuses private addresses and connects to the very address that it checked, with
TLS verified against the name. Added here, since it has no setting for it: ranges that it lets pass, the hosts that are
allowed to be private, and the watch over a transfer's time.
"""

from http.cookiejar import DefaultCookiePolicy
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests_hardened.client import HTTPSession
from requests_hardened.config import Config
from requests_hardened.ip_filter import InvalidIPAddress
from requests_hardened.ip_filter_adapter import IPFilterAdapter

from embeddings_dagster.settings_sources import DownloadSettings
from embeddings_dagster.sources.downloads.cutoff import WatchedPool, WatchedTlsPool
from embeddings_dagster.sources.downloads.urls import canonical_host, host_of

_POOLS = 64  # connections to as many addresses are kept open
_GLOBAL_IPV6 = ip_network("2000::/3")


def open_session(settings: DownloadSettings) -> requests.Session:
    """A session for several threads; sends GET requests that follow no redirect (see `_Session`)."""
    session = _Session(
        Config(
            ip_filter_enable=True,
            ip_filter_allow_loopback_ips=False,
            never_redirect=True,
            default_timeout=(settings.connect_seconds, settings.read_seconds),
            user_agent_override=settings.user_agent,
        )
    )
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    # A compressed picture is a rare mistake, or a bomb.
    session.headers.update({"Accept": "image/*, */*;q=0.5", "Accept-Encoding": "identity"})
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(scheme == "https://", settings))
    return session


class _Session(HTTPSession):
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """No answer is a redirect to the library: where it is told not to follow one, it still reads all of its body
        into memory. `transfer` follows redirects, each hop as a request of its own."""
        return None


class _Adapter(IPFilterAdapter):
    def __init__(self, tls: bool, settings: DownloadSettings) -> None:
        self._private = frozenset(map(_private_host, settings.private_hosts))
        self._connections = settings.per_host
        super().__init__(is_https_proto=tls)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        super().init_poolmanager(_POOLS, self._connections, block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": WatchedPool, "https": WatchedTlsPool}

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: bool | str, cert: str | tuple[str, str] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """
        Raises:
            InvalidIPAddress: the host is at an address that is not public, and not one of the private hosts.
        """
        host, port = host_of(str(request.url)), urlsplit(str(request.url)).port
        port = port or (443 if self._is_https_proto else 80)
        if {(host, None), (host, port)} & self._private:
            return HTTPAdapter.build_connection_pool_key_attributes(self, request, verify, cert)
        host_params, pool_kwargs = super().build_connection_pool_key_attributes(request, verify, cert)
        address = ip_address(host_params["host"].strip("[]"))
        if not _is_public(address):
            raise InvalidIPAddress(address)
        return host_params, pool_kwargs


def _private_host(entry: str) -> tuple[str, int | None]:
    """A host of the settings, and its port if only that one is allowed: `nas.local`, `10.0.0.7:8080`, `::1`."""
    text = entry.strip().rpartition("://")[2].partition("/")[0]
    name, colon, port = text.rpartition(":")
    if colon and port.isdecimal() and (name.endswith("]") or ":" not in name):
        return canonical_host(name), int(port)
    return canonical_host(text), None


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    """Stricter than requests-hardened, which knows nothing of IPv4 within the first IPv6 ranges, nor of site-local
    ones: all that IANA has given out for public use lies in 2000::/3."""
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and (address.version == 4 or address in _GLOBAL_IPV6)
    )
