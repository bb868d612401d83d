"""The tables: column names and types, and which columns are a row's identity.

`identity` columns are what a row *is*; their hash over all live rows is the `content` of a manifest, so a column left
out of it (`run_id`, how an input was described) can change without making anything downstream stale.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime

import pyarrow as pa

BOX = pa.struct([("x", pa.int32()), ("y", pa.int32()), ("w", pa.int32()), ("h", pa.int32())])
REGION = pa.struct([("region", pa.int16()), ("box", BOX), ("text", pa.string()), ("problem", pa.string())])
IMAGE = pa.struct([("bytes", pa.large_binary()), ("path", pa.string())])


@dataclass(frozen=True)
class Table:
    """A dataset's schema. Rows are keyed by `(image_id, region)`; where there is no `region` column it is 0."""

    name: str
    schema: pa.Schema
    identity: tuple[str, ...]
    row_group_bytes: int = 16 * 2**20


def _schema(*fields: tuple[str, pa.DataType]) -> pa.Schema:
    required = {"image_id", "region", "input_hash"}
    return pa.schema([pa.field(name, kind, nullable=name not in required) for name, kind in fields])


RAW = Table(
    "raw_images",
    _schema(
        ("image_id", pa.string()),
        ("input_hash", pa.string()),
        ("item_id", pa.string()),
        ("ordinal", pa.int32()),
        ("batch", pa.string()),
        ("location", pa.string()),
        ("size", pa.int64()),
        ("sha256", pa.string()),
        ("format", pa.string()),
        ("mode", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("regions", pa.list_(REGION)),
        ("scraped_at", pa.timestamp("us", tz="UTC")),
        ("metadata", pa.string()),
        ("run_id", pa.string()),
    ),
    identity=(
        "image_id", "item_id", "ordinal", "batch", "location", "size", "sha256", "format", "mode", "width", "height",
        "regions", "scraped_at", "metadata",
    ),
)  # fmt: skip

_META_TYPES = {
    "text": pa.string(),
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "time": pa.timestamp("us", tz="UTC"),
}


def meta_column(field: str) -> str:
    """The column of a metadata field that the settings name."""
    return f"meta_{field}"


def raw(fields: Mapping[str, str]) -> Table:
    """`RAW` with a typed column for each field: text, number, integer, boolean or time, by its name."""
    columns = {meta_column(name): _META_TYPES[fields[name]] for name in sorted(fields)}
    schema = RAW.schema
    for name, kind in columns.items():
        schema = schema.append(pa.field(name, kind))
    return replace(RAW, schema=schema, identity=(*RAW.identity, *columns))


RGB = Table(
    "rgb_images",
    _schema(
        ("image_id", pa.string()),
        ("region", pa.int16()),
        ("input_hash", pa.string()),
        ("image", IMAGE),
        ("box", BOX),
        ("text", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("passthrough", pa.bool_()),
        ("thumbnail", pa.binary()),
        ("run_id", pa.string()),
    ),
    identity=("image_id", "region", "input_hash", "box", "text"),
)

FAILURES = _schema(
    ("image_id", pa.string()),
    ("region", pa.int16()),
    ("input_hash", pa.string()),
    ("stage", pa.string()),
    ("error_class", pa.string()),
    ("message", pa.string()),
    ("retryable", pa.bool_()),
    ("seen_at", pa.timestamp("us", tz="UTC")),
    ("attempts", pa.int32()),
)

LEDGER = pa.schema(
    [
        ("local_id", pa.string()),
        ("item_id", pa.string()),
        ("ordinal", pa.int32()),
        ("batch", pa.string()),
        ("location", pa.string()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("etag", pa.string()),
        ("record_hash", pa.string()),
        ("first_seen", pa.timestamp("us", tz="UTC")),
        ("removed_at", pa.timestamp("us", tz="UTC")),
    ]
)


def embeddings(dimension: int) -> Table:
    """The table of a model whose vectors have `dimension` float32 components."""
    vector = pa.list_(pa.field("item", pa.float32(), nullable=False), dimension)
    return Table(
        "embeddings",
        pa.schema(
            [
                pa.field("image_id", pa.string(), nullable=False),
                pa.field("region", pa.int16(), nullable=False),
                pa.field("input_hash", pa.string(), nullable=False),
                pa.field("embedding", vector, nullable=False),
                ("norm", pa.float32()),
                ("precision", pa.string()),
                ("run_id", pa.string()),
            ]
        ),
        identity=("image_id", "region", "input_hash"),
    )


@dataclass(frozen=True, slots=True)
class Failure:
    """One input that could not be turned into a row; the row of a failures table.

    `input_hash` is the state of the input that failed: while it stays the same and the failure is not retryable,
    trying again would only fail again.
    """

    image_id: str
    region: int
    input_hash: str
    stage: str
    error_class: str
    message: str
    retryable: bool
    seen_at: datetime
    attempts: int = 1

    def as_row(self) -> dict[str, object]:
        """The row of a failures table; a message that quotes bytes which are not UTF-8 shows them escaped."""
        return {**asdict(self), "message": self.message.encode("utf-8", "backslashreplace").decode()}
