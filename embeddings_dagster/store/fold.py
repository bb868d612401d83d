"""Folding: the live rows of scattered or half-dead parts, rewritten into one part.

Rows stream from row group to row group, so memory stays flat whatever the batch weighs. The old parts stay where they
are for readers of older versions. A large part that is mostly alive is never rewritten: a batch of 4,096 photos is
hundreds of full parts and many gigabytes, which a handful of changes must not cause to be copied.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from embeddings_dagster.ids import Key
from embeddings_dagster.store.manifest import Manifest, PartEntry
from embeddings_dagster.store.parts import keys_of, write_part
from embeddings_dagster.store.tables import Table

if TYPE_CHECKING:
    from embeddings_dagster.store.chain import Chain

MAX_SMALL_PARTS = 8
SMALL = 32 * 2**20  # bytes: half of what closes a part
MAX_DEAD = 1 / 5


def to_fold(parts: Sequence[PartEntry]) -> tuple[PartEntry, ...]:
    """The parts that a fold rewrites; none when the version is in good shape.

    When there are more than eight small ones, those; when more than a fifth of all rows are dead, the small ones and
    each part of which more than a fifth is.
    """
    small = {part.file for part in parts if part.bytes < SMALL}
    dying = {part.file for part in parts if len(part.dead) > part.rows * MAX_DEAD}
    if sum(len(part.dead) for part in parts) > sum(part.rows for part in parts) * MAX_DEAD:
        return tuple(part for part in parts if part.file in small | dying)
    return tuple(part for part in parts if part.file in small) if len(small) > MAX_SMALL_PARTS else ()


def fold(chain: "Chain", table: Table, manifest: Manifest, parts: tuple[PartEntry, ...], file: str) -> PartEntry:
    """Write the live rows of `parts`, which have some, as the part `file`, in the order they were added."""
    bounds: list[Key] = []

    def live() -> Iterator[pa.RecordBatch]:
        for batch in chain.scan(replace(manifest, parts=parts)):
            keys = [*bounds, *keys_of(batch)]
            bounds[:] = [min(keys), max(keys)]
            yield _fit(batch, table.schema)

    written = write_part(chain.store_files, chain.path(file), table.schema, live(), table.row_group_bytes)
    return PartEntry(file, *written, first_key=bounds[0], last_key=bounds[1])


def _fit(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """An older part may lack a column that the settings have named since; it is null there."""
    columns = [
        batch.column(field.name).cast(field.type) if field.name in batch.schema.names
        else pa.nulls(len(batch), field.type)
        for field in schema
    ]  # fmt: skip
    return pa.RecordBatch.from_arrays(columns, schema=schema)
