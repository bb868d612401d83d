"""A batch file read: its items, whatever they are, and what it says of the whole batch.

Read are an object with a list of items under `items` (or `products`, or `data`), a bare list of items, and an item a
line, whatever the file's name ends with. Encodings and NaN are dealt with as `lenient_json` says.
"""

import codecs
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field

from embeddings_dagster.errors import BadRecord
from embeddings_dagster.ids import escape_local_id
from embeddings_dagster.sources.lenient_json import decode, parse
from embeddings_dagster.sources.local_files import is_within, open_regular, read_up_to
from embeddings_dagster.sources.problems import MOST
from embeddings_dagster.sources.scraped.items import IDS

ITEM_LISTS = ("items", "products", "data")  # the first that holds a list counts
BY_LINE = ".jsonl"
# A batch of 10,000 items has some 20 MB. In memory JSON takes ten times its size, so that more than this could end the
# process that looks at all sources.
MAX_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Document:
    """The content of a batch file, and its size and mtime when it was read.

    `facts`: what stands beside the list of items. `bad_lines`: what is wrong with lines that are not taken.
    """

    items: list[object]
    size: int
    mtime_ns: int
    facts: Mapping[str, object] = field(default_factory=dict)
    bad_lines: tuple[str, ...] = ()


def read_document(root: str, record_file: str) -> Document:
    """Read a batch file, given relative to `root`, a real path.

    Raises:
        OSError: it cannot be read.
        BadRecord: it is too large, or not the JSON of a batch; the message names the line.
    """
    location = escape_local_id(record_file)
    path = os.path.realpath(os.path.join(root, record_file))
    if not is_within(path, root):
        raise BadRecord(f"{location}: lies outside of the source's folder, and is not read; put the file itself there")
    handle = open_regular(path)
    with open(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise BadRecord(f"{location}: is not a regular file; replace it by one, or delete it")
        data = read_up_to(file, found.st_size, MAX_BYTES + 1) if found.st_size <= MAX_BYTES else None
    if data is None or len(data) > MAX_BYTES:
        raise BadRecord(f"{location}: has more than {MAX_BYTES:,} bytes; cut it into several batches")
    items, facts, bad_lines = parse_document(data, location, by_line=record_file.lower().endswith(BY_LINE))
    return Document(items, found.st_size, found.st_mtime_ns, facts, bad_lines)


def parse_document(
    data: bytes, location: str, *, by_line: bool
) -> tuple[list[object], Mapping[str, object], tuple[str, ...]]:
    """The items, the facts and the bad lines in the bytes of a batch file.

    `by_line`: an item a line is what is expected. What is found counts: lines in a file that was to be one document,
    and one document in a file that was to be lines, are read too.

    Raises:
        BadRecord: there is no list of items in it.
    """
    if not data.strip():
        raise BadRecord(f"{location}: is empty; write it again, or delete it")
    if by_line:
        items, bad_lines = _items_by_line(data)
        one_document = not bad_lines and len(items) == 1 and not _is_an_item(items[0])
        return (*_whole(data, location), ()) if one_document or not items else (items, {}, bad_lines)
    try:
        return (*_whole(data, location), ())
    except BadRecord as error:
        cause = error.__cause__
        if not isinstance(cause, json.JSONDecodeError) or cause.msg != "Extra data":
            raise
        items, bad_lines = _items_by_line(data)
        if not items:
            raise
        return items, {}, bad_lines


def _whole(data: bytes, location: str) -> tuple[list[object], Mapping[str, object]]:
    value = parse(data, location).value
    if isinstance(value, list):
        return value, {}
    if isinstance(value, dict):
        for name in ITEM_LISTS:
            if isinstance(value.get(name), list):
                return value[name], {key: fact for key, fact in value.items() if key != name}
    names = ", ".join(f"'{each}'" for each in ITEM_LISTS)
    raise BadRecord(f"{location}: holds no list of items, neither as it stands nor under {names}; correct it")


def _is_an_item(value: object) -> bool:
    """Whether the one line of a file is to be an item, and not all of them."""
    return isinstance(value, dict) and any(key in value for key in IDS) and ITEM_LISTS[0] not in value


def _items_by_line(data: bytes) -> tuple[list[object], tuple[str, ...]]:
    items: list[object] = []
    bad: list[str] = []
    more = 0
    for number, line in enumerate(_lines(data), start=1):
        if not line.strip():
            continue
        try:
            items.append(parse(line, f"line {number:,}").value)
        except BadRecord as error:
            if len(bad) < MOST:
                bad.append(str(error).replace(" at line 1, column", " at column"))
            else:
                more += 1
    return items, (*bad, *([f"{more:,} more lines are not JSON; correct them"] if more else []))


def _lines(data: bytes) -> list[bytes]:
    """Each with an encoding of its own: one bad character does not change how all the others are read."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = decode(data).encode("utf-8", "surrogatepass")
    return data.split(b"\n")
