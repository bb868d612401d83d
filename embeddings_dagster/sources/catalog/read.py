"""From a catalogue's file to what it says, by its format; and the last ones that were read, for who asks again."""

import gzip
import io
import os
import stat
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO

import pyarrow as pa

from embeddings_dagster.ids import escape_local_id
from embeddings_dagster.sources.base import LOOK
from embeddings_dagster.sources.catalog.contents import Contents, read_contents
from embeddings_dagster.sources.catalog.delimited import SEPARATORS, read_delimited
from embeddings_dagster.sources.catalog.jsonl import read_jsonl
from embeddings_dagster.sources.catalog.parquet import read_parquet
from embeddings_dagster.sources.catalog.rows import CatalogRules, Report, Row, Unusable
from embeddings_dagster.sources.catalog.text import HEAD, text_lines
from embeddings_dagster.sources.local_files import open_regular

_BY_NAME = {
    **dict.fromkeys((".tsv", ".tab"), "tsv"),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "jsonl"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    ".csv": "csv",
}
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"


@dataclass(frozen=True)
class State:
    """A file as it was when it was opened."""

    size: int
    mtime_ns: int
    inode: int


def state_of(path: Path) -> State:
    """How a catalogue looks now.

    Raises:
        Unusable: it is missing, or no regular file.
    """
    try:
        return _state(os.stat(path))
    except (OSError, ValueError) as error:
        raise Unusable(_unopened(path, error)) from error


def read_catalogue(path: Path, rules: CatalogRules) -> tuple[Contents, State]:
    """All of a catalogue, read anew.

    Raises:
        Unusable: it cannot be read as a whole.
    """
    try:
        handle = open_regular(str(path))
    except (OSError, ValueError) as error:
        raise Unusable(_unopened(path, error)) from error
    try:
        state = _state(os.fstat(handle))
        with open(handle, "rb", buffering=0, closefd=False) as raw:
            return _read(io.BufferedReader(raw, HEAD), path, rules), state
    finally:
        os.close(handle)


def look_of(path: Path, state: State) -> pa.Table:
    """Schema `LOOK`: the catalogue as a record file."""
    return pa.table([[record_file(path)], [state.size], [state.mtime_ns]], schema=LOOK)


def record_file(path: Path) -> str:
    """How locations name the catalogue."""
    return escape_local_id(path.name)


class RecentCatalogues:
    """What the last catalogues said that were read, so that the batches of one do not each read it again. One that is
    larger than all of the room is read again each time."""

    def __init__(self, room: int = 256 * 2**20) -> None:
        self._room = room
        self._kept: dict[tuple[Path, CatalogRules], tuple[State, Contents]] = {}
        self._lock = threading.Lock()

    def get(self, path: Path, rules: CatalogRules) -> Contents:
        """What a catalogue says now; see `read_catalogue`."""
        with self._lock:  # who comes meanwhile has to wait either way
            kept = self._kept.get((path, rules))
            if kept and kept[0] == state_of(path):
                return kept[1]
        return self.read(path, rules)[0]

    def read(self, path: Path, rules: CatalogRules) -> tuple[Contents, State]:
        """As `get`, but the file is read in any case."""
        with self._lock:
            self._kept.pop((path, rules), None)
            contents, state = read_catalogue(path, rules)
            self._kept[path, rules] = state, contents
            while self._kept and sum(each.nbytes for _, each in self._kept.values()) > self._room:
                del self._kept[next(iter(self._kept))]
            return contents, state


RECENT = RecentCatalogues()


def _read(file: io.BufferedReader, path: Path, rules: CatalogRules) -> Contents:
    head = _head(file)
    if not head:
        raise Unusable("is empty; write it again, or take the source out of the settings")
    packed = head.startswith(_GZIP)
    if packed:
        file = io.BufferedReader(gzip.GzipFile(fileobj=file), HEAD)
        head = _head(file)
    kind = _kind(path, head, rules.format)
    report = Report(record_file(path), "row" if kind == "parquet" else "line")
    return read_contents(_rows(file, head, kind, rules, report, packed=packed), rules, report)


def _head(file: io.BufferedReader) -> bytes:
    try:
        return file.peek(HEAD)
    except (OSError, EOFError, zlib.error) as error:  # the last two of a damaged archive
        raise Unusable(f"cannot be read ({error}); copy or write it again") from error


def _rows(
    file: BinaryIO, head: bytes, kind: str, rules: CatalogRules, report: Report, *, packed: bool
) -> Iterator[Row]:
    if kind == "parquet":
        if packed:
            raise Unusable("is a packed Parquet file; unpack it")
        return read_parquet(file, report)
    lines = text_lines(file, head, rules.encoding, report, packed=packed)
    if kind == "jsonl":
        return read_jsonl(lines, report)
    wanted = {name.strip().casefold() for name in (*rules.ids, *rules.images)}
    return read_delimited(lines, ("\t",) if kind == "tsv" else SEPARATORS, wanted, report)


def _kind(path: Path, head: bytes, told: str) -> str:
    if told != "auto":
        return told
    if head.startswith(_PARQUET):
        return "parquet"
    name = path.name.lower().removesuffix(".gz")
    by_content = "jsonl" if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else "csv"
    return _BY_NAME.get(PurePath(name).suffix, by_content)


def _state(found: os.stat_result) -> State:
    if not stat.S_ISREG(found.st_mode):
        raise Unusable("is not a regular file; name the catalogue itself")
    return State(found.st_size, found.st_mtime_ns, found.st_ino)


def _unopened(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "does not exist; mount or create it"
    return f"cannot be read ({getattr(error, 'strerror', None) or error}); check its permissions and its disk"
