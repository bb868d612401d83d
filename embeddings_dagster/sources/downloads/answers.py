"""What an answer is worth: a picture, or the reason why it is none. Its body is read only as far as that takes."""

import re
from dataclasses import dataclass
from io import BytesIO

import requests
from urllib3.response import BaseHTTPResponse

from embeddings_dagster.errors import DownloadFailed, DownloadRefused, TooManyBytes
from embeddings_dagster.settings_sources import DownloadSettings
from embeddings_dagster.sources.downloads.content import HEAD_BYTES, describe, extension_of
from embeddings_dagster.sources.downloads.failure import Failure
from embeddings_dagster.sources.downloads.retries import AGAIN
from embeddings_dagster.sources.downloads.robots import forbidding

_READ_BYTES = 64 * 1024
_VALIDATOR = re.compile(r"[^\x00-\x1f\x7f]{1,1000}")
_NOT_YET = 202
_NEVER = frozenset({501, 505})  # a server that does not know how will not have learnt it tomorrow
_REASONS = {
    401: "it wants a password",
    403: "it may not be had",
    404: "it is not there",
    410: "it is gone for good",
    451: "it may not be had for legal reasons",
}


@dataclass(frozen=True)
class Answer:
    """A picture and what names this state of it to its server. `data` is None where it is the state that was asked
    about."""

    data: bytes | None
    extension: str
    etag: str | None
    last_modified: str | None


@dataclass(frozen=True)
class Question:
    """What is asked for. `shown`: the address as messages name it; `cap`: in bytes; `known`: only if it changed."""

    shown: str
    cap: int
    known: bool


def take(response: requests.Response, question: Question, settings: DownloadSettings) -> Answer:
    """The picture in a response whose body was not read yet.

    Raises:
        Failure: there is none.
        urllib3.exceptions.HTTPError: the connection failed on the way.
    """
    raw: BaseHTTPResponse = response.raw
    unchanged = question.known and response.status_code == 304
    if response.status_code not in (200, 203) and not unchanged:
        raise _refusal(response.status_code, question)
    if settings.respect_noai and (directive := forbidding(raw.headers.getlist("X-Robots-Tag"), settings.user_agent)):
        raise Failure(
            DownloadRefused,
            "robots",
            f"{question.shown}: its server says {directive!r} (X-Robots-Tag), so the picture is left alone; ask its "
            "owner, or set download.respect_noai to false",
            status=response.status_code,
        )
    data = None if unchanged else _body(response, question)
    validators = (_validator(response.headers.get(name)) for name in ("ETag", "Last-Modified"))
    return Answer(data, (extension_of(data) or "") if data else "", *validators)


def _refusal(status: int, question: Question) -> Failure:
    if status in AGAIN or status == _NOT_YET or (status >= 500 and status not in _NEVER):
        message = f"{question.shown}: answered {status}; run again later"
        return Failure(DownloadFailed, "status", message, status=status, again=status in AGAIN)
    reason = _REASONS.get(status, "that is no picture")
    message = (
        f"{question.shown}: answered {status}, {reason}; correct the address, or run with --retry-failed when that is"
    )
    return Failure(DownloadRefused, "status", f"{message} right", status=status)


def _body(response: requests.Response, question: Question) -> bytes:
    raw: BaseHTTPResponse = response.raw
    declared = raw.length_remaining if isinstance(getattr(raw, "length_remaining", None), int) else None
    if declared is not None and declared > question.cap:
        raise _too_many(question, f"declares {declared:,} bytes", response.status_code)
    body = BytesIO()
    sniffed = False
    while chunk := raw.read1(min(_READ_BYTES, question.cap + 1 - body.tell()), decode_content=True):
        body.write(chunk)
        if not sniffed and body.tell() >= HEAD_BYTES:
            _sniff(body, response, question)  # an endless page of text ends here
            sniffed = True
        if body.tell() > question.cap:
            raise _too_many(question, f"has more than {question.cap:,} bytes", response.status_code)
    _sniff(body, response, question)
    return body.getvalue()


def _sniff(body: BytesIO, response: requests.Response, question: Question) -> None:
    with body.getbuffer() as view:
        head = bytes(view[:HEAD_BYTES])
    if extension_of(head):
        return
    claims = [
        f"{name} {response.headers[name][:80]!r}"
        for name in ("Content-Type", "Content-Encoding")
        if name in response.headers
    ]
    said = f" (it says {', '.join(claims)})" if claims else ""
    raise Failure(
        DownloadRefused,
        "content",
        f"{question.shown}: answered {response.status_code}{said}, but what came is {describe(head)}; correct the "
        "address, or run with --retry-failed when a picture is there",
        status=response.status_code,
    )


def _too_many(question: Question, said: str, status: int) -> Failure:
    return Failure(
        TooManyBytes,
        "bytes",
        f"{question.shown}: {said}, and rgb.max_bytes = {question.cap:,}; raise it to accept the picture",
        status=status,
    )


def _validator(text: str | None) -> str | None:
    return text if text is not None and _VALIDATOR.fullmatch(text) else None
