"""JSON as strangers write it: any of the encodings seen, NaN, raw line breaks in strings, numbers of any length, commas
after the last of a list, and a document that a language model has put between fences of Markdown.

What cannot be read is one `BadRecord` that names the line; never another exception, whatever the bytes are.
"""

import codecs
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from embeddings_dagster.errors import BadRecord

DEEPEST = 200  # levels; Python's own limit depends on who is asking, and a record must read the same for all
# Text without an end goes on to the end of the file: to try each quote in it anew would take for ever.
TOKEN = re.compile(r'"[^"\\]*+(?:\\.?[^"\\]*+)*+"?|[\[{\]}]', re.DOTALL)
# A string, so that none of its commas is taken, or a comma between a value and the end of its list or object.
LAST_COMMA = re.compile(r'("[^"\\]*+(?:\\.?[^"\\]*+)*+"?)|(?<=[\w.\]}"]),(?=\s*+[\]}])', re.DOTALL)
FENCED = re.compile(r"```\w*[ \t]*\r?\n(.*?)(?:```|\Z)", re.DOTALL)
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Parsed(NamedTuple):
    """A document, and the names that occur twice in one of its objects, where the last value counts."""

    value: object
    repeated: tuple[str, ...]


def decode(data: bytes) -> str:
    """Text in UTF-8 (or what a byte order mark says), else Windows-1252, else Latin-1, which all bytes are."""
    marked = [encoding for mark, encoding in BYTE_ORDER_MARKS if data.startswith(mark)]
    for encoding in (*marked, "utf-8", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def parse(data: bytes, name: str) -> Parsed:
    """The document in `data`; `name` is how a message calls it.

    Raises:
        BadRecord: it is no JSON, or nested too deeply.
    """
    text = decode(data)
    if not text.strip():
        raise BadRecord(f"{name}: is empty; write it again")
    repeated: dict[str, None] = {}

    def hold(pairs: list[tuple[str, object]]) -> dict[str, object]:
        held = dict(pairs)
        if len(held) != len(pairs):
            counts = Counter(key for key, _ in pairs)
            repeated.update(dict.fromkeys(key for key, count in counts.items() if count > 1))
        return held

    def load(text: str) -> object:
        if text.count("[") + text.count("{") > DEEPEST and _depth(text) > DEEPEST:
            raise BadRecord(f"{name}: nested more than {DEEPEST} levels deep; correct it")
        return json.loads(text, strict=False, object_pairs_hook=hold, parse_int=_integer)

    try:
        value = load(text)
    except json.JSONDecodeError as error:
        try:
            value = load(_mended(text))
        except json.JSONDecodeError:
            said = error.msg.removesuffix(" at")
            raise BadRecord(
                f"{name}: is not JSON: {said} at line {error.lineno}, column {error.colno}; correct it"
            ) from error
    return Parsed(value, tuple(map(clean, repeated)))


def clean(text: str) -> str:
    """Text that every store can hold: halves of characters become U+FFFD, NUL is left out."""
    if not text.isascii():
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", "")


def lowered(value: Mapping[str, object]) -> dict[str, object]:
    """An object by its names in lower case; of two that differ in case alone, the one in lower case, else the first."""
    out: dict[str, object] = {}
    for key, held in value.items():
        name = key.strip().lower()
        if key == name or name not in out:
            out[name] = held
    return out


def under(value: Mapping[str, object], names: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    """What an object holds under some names in any case, as (key, value): in the order of `names`."""
    keys: dict[str, list[str]] = {}
    for key in value:
        keys.setdefault(key.strip().lower(), []).append(key)
    for name in names:
        for key in sorted(keys.get(name, []), key=lambda key: key != name):
            yield key, value[key]


def _mended(text: str) -> str:
    """Without fences, and without the commas that JSON forbids. What is cut short stays so, and is refused."""
    fenced = None if text.lstrip("\ufeff \t\r\n").startswith(("{", "[")) else FENCED.search(text)
    return LAST_COMMA.sub(lambda found: found[1] or "", fenced[1] if fenced else text)


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= 300 else math.inf if text[0] != "-" else -math.inf


def _depth(text: str) -> int:
    deepest = depth = 0
    for token in TOKEN.finditer(text):
        mark = token[0][0]
        depth += (mark in "[{") - (mark in "]}")
        deepest = max(deepest, depth)
    return deepest
