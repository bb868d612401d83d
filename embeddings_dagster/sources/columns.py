"""Entries collected into columns as they are found, so that a million of them never exist as Python objects."""

import pyarrow as pa

from embeddings_dagster.sources.base import SCAN

_BLOCK = 16_384


class EntryColumns:
    """Grows block by block; `table` gives all entries sorted. One picture per item: the item is the file."""

    def __init__(self) -> None:
        self._blocks: list[pa.RecordBatch] = []
        self._rows: list[tuple[str, str, int | None, int | None]] = []

    def add(self, local_id: str, location: str, size: int | None, mtime_ns: int | None) -> None:
        self._rows.append((local_id, location, size, mtime_ns))
        if len(self._rows) >= _BLOCK:
            self._flush()

    def table(self) -> pa.Table:
        """Schema `SCAN`, sorted by local id."""
        self._flush()
        return pa.Table.from_batches(self._blocks, schema=SCAN).sort_by([("local_id", "ascending")])

    def _flush(self) -> None:
        if not self._rows:
            return
        ids, locations, sizes, times = zip(*self._rows, strict=True)
        count = len(self._rows)
        local_ids, nothing = pa.array(ids, pa.string()), pa.nulls(count, pa.string())
        self._blocks.append(
            pa.record_batch(
                [
                    local_ids,
                    local_ids,
                    pa.repeat(pa.scalar(0, pa.int32()), count),
                    pa.array(locations, pa.string()),
                    pa.array(sizes, pa.int64()),
                    pa.array(times, pa.int64()),
                    nothing,
                    nothing,
                ],
                schema=SCAN,
            )
        )
        self._rows.clear()
