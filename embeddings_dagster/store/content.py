"""`content`: what a set of rows says, whatever order, part or version the rows lie in.

Each row is hashed over its identity columns, and the sorted hashes are hashed: folding parts, retrying failures or
writing a row again with the same values change nothing.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import datetime

import pyarrow as pa


def row_digests(rows: pa.Table | pa.RecordBatch, identity: Sequence[str]) -> list[bytes]:
    """One digest a row, over the named columns; a column or a part of one that is missing counts as null."""
    present = [name for name in identity if name in rows.schema.names]
    return [
        hashlib.sha256(
            json.dumps([_told(row.get(name)) for name in identity], sort_keys=True, default=_plain).encode(
                "utf-8", "replace"
            )
        ).digest()
        for row in rows.select(present).to_pylist()
    ]


def content_of(digests: Iterable[bytes]) -> str:
    """The hash of a set of rows from their digests, in any order."""
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def _told(value: object) -> object:
    """Structs without their null fields: one that was written before a field was added is equal to one after."""
    if isinstance(value, dict):
        return {name: _told(inner) for name, inner in value.items() if inner is not None}
    return [_told(inner) for inner in value] if isinstance(value, list) else value


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"a {type(value).__name__} has no place in a row's identity")
