"""What every source promises.

`scan` is the truth about what exists: a picture that it does not list is taken to be gone. So it lists everything or
raises `SourceError`; it never returns a part. One file that cannot be read is listed all the same, and ends as a
failure when it is read. Tables are columnar throughout, for a source may hold millions of pictures.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import pyarrow as pa

SCAN = pa.schema(
    [
        pa.field("local_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("ordinal", pa.int32(), nullable=False),
        pa.field("location", pa.string(), nullable=False),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("etag", pa.string()),
        ("record_hash", pa.string()),
    ]
)
# size and mtime_ns are null where there is nothing at that location any more, or nothing that can be looked at.
LOOK = pa.schema([pa.field("location", pa.string(), nullable=False), ("size", pa.int64()), ("mtime_ns", pa.int64())])


@dataclass(frozen=True)
class Problem:
    """Something that was not taken and that its owner should know of; `reason` says what to do."""

    location: str
    reason: str


@dataclass(frozen=True)
class Scan:
    """All pictures of a source at one time.

    `entries`: schema `SCAN`, sorted by (local_id, ordinal), each pair once; size in bytes, mtime in ns since 1970.
    `ignored`: how many files or folders were passed over on purpose, by reason. `started_at`: before the first look.
    """

    entries: pa.Table
    started_at: datetime
    problems: tuple[Problem, ...] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)


class Source(Protocol):
    """An origin of pictures, read-only and safe to use from several threads."""

    name: str

    def scan(self) -> Scan:
        """List every picture.

        Raises:
            SourceError: it cannot be listed as a whole.
        """
        ...

    def look(self, locations: pa.ChunkedArray) -> pa.Table:
        """The size and mtime of some pictures now: schema `LOOK`, one row for each location, in their order."""
        ...

    def read(self, location: str, cap: int) -> bytes:
        """The bytes of one picture.

        Raises:
            ReadFailed: it cannot be read; trying again may help.
            TooManyBytes: it has more than `cap` bytes; they are not read.
        """
        ...
