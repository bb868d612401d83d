"""What every source promises.

`scan` is the truth about what exists: a picture that it does not list is taken to be gone. So it lists everything, or
names the batches it says nothing of, or raises `SourceError`. One picture that cannot be read, or whose record makes no
sense, is listed all the same, and ends as a failure when it is read. Tables are columnar throughout, for a source may
hold millions of pictures.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import pyarrow as pa

from embeddings_dagster.errors import ItemError

SCAN = pa.schema(
    [
        pa.field("local_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("ordinal", pa.int32(), nullable=False),
        ("batch", pa.string()),
        pa.field("location", pa.string(), nullable=False),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("etag", pa.string()),
        ("record_hash", pa.string()),
        ("record_file", pa.string()),
    ]
)
# size and mtime_ns are null where there is nothing at that location any more, or nothing that can be looked at.
LOOK = pa.schema([pa.field("location", pa.string(), nullable=False), ("size", pa.int64()), ("mtime_ns", pa.int64())])

_TOLD = json.JSONEncoder(sort_keys=True, ensure_ascii=True)  # kept: to make one takes as long as to use it
Plain = str | int | float | bool | list["Plain"] | dict[str, "Plain"] | None  # what JSON can say


@dataclass(frozen=True)
class Problem:
    """Something that was not taken, or not as it stood, and that its owner should know of; `reason` says what to do."""

    location: str
    reason: str


@dataclass(frozen=True)
class Listed:
    """All that a scan came by, counted where it came by: each is an item of the entries, or passed over.

    `unit` says what is counted (files, rows, items, page specs). `ignored` were passed over on purpose, by reason;
    `refused` are told among the problems, and are no entries.
    """

    unit: str
    seen: int
    ignored: Mapping[str, int] = field(default_factory=dict)
    refused: int = 0


@dataclass(frozen=True)
class Scan:
    """All pictures of a source at one time.

    `entries`: schema `SCAN`, sorted by (batch, local_id, ordinal), each triple once; size in bytes, mtime in ns since
    1970. `batch` is a partition key, or null throughout where the ledger is to cut batches. `record_file` is the
    location of the file that the entry's record was read from.
    `files`: schema `LOOK`, those record files as they were when they were read; one that no entry was read from (a list
    of the record files, say) may concern any entry. `scraped_at`: by batch.
    `left_alone`: batches of which nothing is said, because they look as `marks` of an earlier scan remember them or
    cannot be read at present; they stay as they are. `marks`: what the batches that were read look like, by batch. In
    both the empty name stands for the whole source.
    `ignored`: how many files, folders or records were passed over on purpose, by reason. `started_at`: before the first
    look. `listed`: what of it can be counted against the entries; None where nothing was read.
    """

    entries: pa.Table
    started_at: datetime
    problems: tuple[Problem, ...] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)
    files: pa.Table = field(default_factory=LOOK.empty_table)
    scraped_at: Mapping[str, datetime] = field(default_factory=dict)
    left_alone: frozenset[str] = frozenset()
    marks: Mapping[str, str] = field(default_factory=dict)
    listed: Listed | None = None


class Picture(NamedTuple):
    """Which picture is meant, as the ledger has it."""

    local_id: str
    ordinal: int
    location: str


@dataclass(frozen=True)
class RegionRecord:
    """A part of a picture by its record, numbered from 1; region 0 carries the text of the whole picture and no box.

    `form` says how to read `values`: `xywh` pixels; `xywh_or_xyxy` (the second where the first leaves the picture);
    `polygon` x, y, x, y, …; all of them fractions of the picture where every value is at most 1.1. `fault`: why the
    record gives no box at all.
    """

    region: int
    form: str = ""
    values: tuple[float, ...] = ()
    text: str | None = None
    fault: str = ""


@dataclass(frozen=True)
class Record:
    """What a source knows of a picture beside its bytes. `metadata` holds plain values, absent where unknown;
    `fault`: why the picture cannot be had at all (its item names none, its record makes no sense)."""

    metadata: Mapping[str, Plain] = field(default_factory=dict)
    scraped_at: datetime | None = None
    regions: tuple[RegionRecord, ...] = ()
    fault: ItemError | None = None

    def digest(self) -> str:
        """The `record_hash`: equal for equal records, whatever the order of their keys."""
        told = {
            "metadata": self.metadata,
            "scraped_at": self.scraped_at.astimezone(UTC).isoformat() if self.scraped_at else None,
            "regions": [[each.region, each.form, each.values, each.text, each.fault] for each in self.regions],
            "fault": [type(self.fault).__name__, str(self.fault)] if self.fault else None,
        }
        return hashlib.sha256(_TOLD.encode(told).encode()).hexdigest()[:32]  # 128 bits: a plan holds two of each


class Source(Protocol):
    """An origin of pictures, read-only and safe to use from several threads.

    `own_batches`: the source itself says which batch a picture is in. `threads`: how many may read at once with profit.
    """

    name: str
    own_batches: bool
    threads: int

    def scan(self, known: Mapping[str, str] | None = None) -> Scan:
        """List every picture; batches that still look as their mark in `known` says may be left alone.

        Raises:
            SourceError: it cannot be listed as a whole.
        """
        ...

    def look(self, locations: pa.ChunkedArray) -> pa.Table:
        """The size and mtime of some pictures or record files now: schema `LOOK`, a row for each location, in their
        order."""
        ...

    def records(self, batch: str, rows: pa.Table) -> Mapping[tuple[str, int], Record]:
        """The records of some ledger rows of a batch (schema `LEDGER`) as they are now, by (local_id, ordinal). Where
        the source has no record for a picture any more, it is missing here.

        Raises:
            SourceError: they cannot be read as a whole.
        """
        ...

    def read(self, picture: Picture, cap: int) -> bytes:
        """The bytes of one picture.

        Raises:
            ItemError: it cannot be had; `retryable` says whether trying again may help. `TooManyBytes`: it has more
                than `cap` bytes; no more than those are read.
        """
        ...

    def locate(self, location: str) -> str:
        """What a person can open: the absolute path or the URL of a picture."""
        ...
