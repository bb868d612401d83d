"""The part in hand: rows that fit their table, until a limit says that they are enough for one file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from embeddings_dagster.errors import StoreError
from embeddings_dagster.ids import Key
from embeddings_dagster.store.parts import keys_of
from embeddings_dagster.store.tables import Table


@dataclass(frozen=True, slots=True)
class PartLimits:
    """A part closes at whichever comes first. `bytes` counts Arrow memory, `seconds` run from its first image.

    A killed run loses at most one part, and a stop signal is obeyed within one: hence the seconds.
    """

    images: int = 512
    bytes: int = 64 * 2**20
    seconds: float = 20.0


DEFAULT_LIMITS = PartLimits()


class OpenPart:
    """Rows that are in memory only, in the order they were added."""

    def __init__(self, started: float) -> None:
        self.batches: list[pa.RecordBatch] = []
        self.keys: list[Key] = []
        self.images = 0
        self._bytes = 0
        self._started = started

    def take(self, batch: pa.RecordBatch, keys: Sequence[Key]) -> None:
        self.batches.append(batch)
        self.keys.extend(keys)
        self._bytes += batch.nbytes

    def is_full(self, limits: PartLimits, now: float) -> bool:
        return self.images >= limits.images or self._bytes >= limits.bytes or now - self._started >= limits.seconds


def to_batch(table: Table, rows: Sequence[Mapping[str, object]]) -> pa.RecordBatch:
    """The rows of one image as Arrow; numpy arrays may stand for lists.

    Raises:
        StoreError: they do not fit the table, or are of several images; the message names the image.
    """
    images = {row.get("image_id") for row in rows}
    if len(images) != 1:
        raise StoreError(f"add() takes the rows of one image, not of {len(images)}: {sorted(map(str, images))[:5]}")
    name = f"{images.pop()} does not fit the table {table.name}"
    if unknown := {column for row in rows for column in row} - set(table.schema.names):
        raise StoreError(f"{name}: unknown columns {', '.join(sorted(unknown))}")
    try:
        batch = pa.RecordBatch.from_pylist(list(rows), table.schema)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise StoreError(f"{name}: {error}") from error
    for column in table.schema:
        if not column.nullable and batch.column(column.name).null_count:
            raise StoreError(f"{name}: {column.name} is missing")
    if len(set(keys_of(batch))) != len(batch):
        raise StoreError(f"{name}: a region occurs twice")
    return batch
