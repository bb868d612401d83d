"""What a cell says of pictures: addresses on the web, or why what stands there is none.

A cell may hold several: a list, a list written as JSON or by Python, or addresses divided by spaces, `,`, `;` or `|`.
Each has its place, blank ones too, so that the others keep theirs when one is filled in. An object of JSON or Parquet
stands for the address that it holds, as shops export them: `{"src": "https://…", "position": 1}`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from embeddings_dagster.sources.addresses import shown
from embeddings_dagster.sources.catalog.values import trimmed
from embeddings_dagster.sources.numbers import NOTHING

# What programs write where there is no address; compared in lower case.
NO_ADDRESS = NOTHING | {"<na>", "#n/a", "nat", "undefined", "[]"}
LONGEST = 8_192  # characters; servers refuse less
KEYS = ("src", "url", "contentUrl", "hi_res", "large", "href", "link")  # of an object; the first that is filled
_WEB = re.compile(r"https?://[^/?#\s\\][^\x00-\x1f\x7f]*", re.IGNORECASE)
_WITHOUT_SCHEME = re.compile(r"//(?=[^\s/?#\\]*\.)[^\s/?#\\@]+(?:[/?#]|$)")
_NEXT = re.compile(r"(?<=[,;|\s])(?:https?://|//[\w-]+\.)", re.IGNORECASE)
_DIVIDERS = ",;| \t\r\n"
_QUOTED = re.compile(r"""(?<=["'])https?://[^"']+(?=["'])""", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?!\\)")


class Place(NamedTuple):
    """Where a picture can be named: its address, or `fault`: why what stands there is none; neither where blank."""

    address: str = ""
    fault: str = ""


def is_address(text: str) -> bool:
    """Whether a picture could be asked for there."""
    return len(text) <= LONGEST and _WEB.fullmatch(text) is not None


def places(cell: object) -> list[Place]:
    """The pictures that a cell names, in order; at least one place."""
    if isinstance(cell, str) and cell.isprintable() and is_address(cell) and "//" not in cell[8:]:
        return [_place(cell)]  # nearly every cell
    return [_place(each) for each in _several(cell)] or [Place()]


def _several(cell: object) -> Iterator[object]:
    held = _held(cell)
    if isinstance(held, list | tuple):
        for each in map(_held, held):
            yield from _several(each) if isinstance(each, str) else [each]
    elif isinstance(held, str):
        text = trimmed(held)
        if text[:1] + text[-1:] in ("[]", "{}"):
            yield from map(_held, _listed(text))
        else:
            yield from _divided(text)
    else:
        yield held


def _divided(text: str) -> list[object]:
    starts = [0, *(found.start() for found in _NEXT.finditer(text))]
    return [text[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]


def _held(value: object) -> object:
    """What an object holds for an address; anything else as it is."""
    if not isinstance(value, Mapping):
        return value
    held = [value[key] for key in KEYS if key in value]
    return next(filter(None, held), None) if held or not value else value


def _listed(text: str) -> list[object]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return list(_QUOTED.findall(text)) or _divided(text[1:-1].strip())
    return (found if isinstance(found, list) else [found]) or [""]


def _place(value: object) -> Place:
    if value is None or (isinstance(value, float) and value != value):
        return Place()
    if isinstance(value, Mapping):
        return Place(fault=f"an object with none of {', '.join(KEYS)} is no address; write it as text")
    if not isinstance(value, str):
        return Place(fault=f"a value of kind {type(value).__name__} is no address; write it as text")
    text = trimmed(value).rstrip(_DIVIDERS)
    if text.lower() in NO_ADDRESS:
        return Place()
    if _WITHOUT_SCHEME.match(text):
        text = f"https:{text}"  # so says the shop's own page, which is not on http any more
    if is_address(text):
        return Place(text)
    return Place(fault=f"{shown(text[:LONGEST])!r} {_why_not(text)}")


def _why_not(text: str) -> str:
    if len(text) > LONGEST:
        return f"is too long for an address ({len(text):,} characters); shorten it"
    scheme = _SCHEME.match(text)
    if scheme and scheme[0].lower() in ("http:", "https:"):
        return "is no address that can be asked for; correct it"
    if scheme and len(scheme[0]) > 2:  # one letter is a disk
        return f"is not on the web ({scheme[0]}); only http and https are fetched, so publish the picture there"
    return "is no web address; write it with http:// or https:// (pictures on a disk are for a source of kind folder)"
