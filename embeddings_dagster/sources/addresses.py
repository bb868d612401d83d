"""Addresses of pictures, made fit to be shown: to people, in messages and in tables."""

import re
from urllib.parse import unquote

_USER = re.compile(r"(?<=[/\\]{2})[^/?#\\]*@")
_PIECE = re.compile(r"[?&;#]")
_NAMES_A_SECRET = re.compile(r"(?i)token|key|sig|secret|pass|pwd|auth|credential|session|jwt|hmac")
_LONGEST = 8_192  # characters that are looked at; the rest is not shown
_MOST_SHOWN = 300


def shown(url: str) -> str:
    """`url` for a message: without its user and password, the values of secrets left out, printable, not endless.

    What is hidden are the values of parameters whose names say that they are secrets, in the query or behind `#`. The
    work is in proportion to the length: strangers write these, and a server that redirects does.
    """
    text = without_secrets(url.strip()[:_LONGEST])
    text = "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 30]}…{text[-29:]}"


def without_secrets(url: str) -> str:
    """`url` as it may be kept beside a picture or handed on: where its picture is, and nothing that opens it."""
    text = _USER.sub("", url)
    told, start = [], 0
    for mark in (*_PIECE.finditer(text), None):
        piece = text[start : mark.start() if mark else None]
        name, equals, value = piece.partition("=")
        secret = start and equals and value and _NAMES_A_SECRET.search(unquote(name))
        told.append(f"{name}=…" if secret else piece)
        if mark:
            told.append(mark[0])
            start = mark.end()
    return "".join(told)
