"""What went wrong on the way to a server, in words, and whether trying again at once may help."""

import http.client
import socket
import ssl
from collections.abc import Iterator

import requests
from requests_hardened.ip_filter import InvalidIPAddress
from urllib3.exceptions import NewConnectionError

from embeddings_dagster.errors import DownloadFailed, DownloadRefused
from embeddings_dagster.sources.downloads.failure import Failure
from embeddings_dagster.sources.downloads.urls import host_of, place_of

_NO_URL = (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema)


def not_the_web(shown: str, why: str, reason: str) -> Failure:
    """An address that cannot be asked for at all."""
    message = f"{shown}: cannot be asked for, {reason}; only public http and https addresses are"
    return Failure(DownloadRefused, why, message)


def failure_of(error: Exception, shown: str, url: str) -> Failure:
    """The failure that an exception of requests, urllib3, http.client or a socket means, on the way to `url`."""
    host = host_of(url)
    if isinstance(error, InvalidIPAddress):
        where = "is" if host == str(error) else f"is at {error},"
        reason = f"its host {host} {where} a private or reserved address"
        message = f"{shown}: not asked for, {reason}; if that is meant, add {host!r} to download.private_hosts"
        return Failure(DownloadRefused, "address", message)
    if isinstance(error, _NO_URL):
        return not_the_web(shown, "url", "its host makes no sense")
    chain = list(_chain(error))
    for each in chain:
        if isinstance(each, socket.gaierror):
            temporary = each.errno == socket.EAI_AGAIN
            reason = f"its host {host} cannot be found ({each.strerror})"
            return _failed(shown, reason, again=temporary, unreached=place_of(url))
        if isinstance(each, ssl.SSLCertVerificationError):
            return _failed(shown, f"the certificate of its host is not valid ({each.verify_message})", again=False)
    if isinstance(error, requests.exceptions.SSLError):
        return _failed(shown, f"there is no safe connection to its host ({type(chain[-1]).__name__})", again=False)
    unreached = ""
    if isinstance(error, requests.ConnectTimeout) or any(isinstance(each, NewConnectionError) for each in chain):
        unreached = place_of(url)
    return _failed(shown, _said(error, chain), unreached=unreached)


def _said(error: Exception, chain: list[BaseException]) -> str:
    if isinstance(error, requests.Timeout) or any(isinstance(each, TimeoutError) for each in chain):
        return "its server was silent for too long"
    if any(isinstance(each, http.client.IncompleteRead) for each in chain):
        return "it ended too early"
    if reason := next((each.strerror for each in chain if isinstance(each, OSError) and each.strerror), None):
        return f"the connection failed ({reason})"
    if any(isinstance(each, http.client.RemoteDisconnected) for each in chain):
        return "its server hung up"
    return f"the answer makes no sense ({type(chain[-1]).__name__})"


def _failed(shown: str, reason: str, *, again: bool = True, unreached: str = "") -> Failure:
    message = f"{shown}: {reason}; run again later"
    return Failure(DownloadFailed, "transfer", message, again=again, unreached=unreached)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that led to it, the first cause last."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__
