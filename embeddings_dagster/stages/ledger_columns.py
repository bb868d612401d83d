"""Small columnar tools for comparing a scan with a ledger: pyarrow columns in, numpy masks and positions out."""

from collections.abc import Iterator, Mapping
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]

SLICES = 4
BLOCK = 65_536


def keys(table: pa.Table, *, with_batch: bool = False) -> pa.ChunkedArray:
    """One string per row, unique to (local_id, ordinal), or to (batch, local_id, ordinal).

    A local id holds no bare `#`, and a batch key no `/`.
    """
    found = table["local_id"]
    further = pc.not_equal(table["ordinal"], 0)
    if pc.any(further).as_py():
        numbered = pc.binary_join_element_wise(found, table["ordinal"].cast(pa.string()), "#")
        found = pc.if_else(further, numbered, found)
    return pc.binary_join_element_wise(table["batch"], found, "/") if with_batch else found


def find(needles: pa.ChunkedArray, among: pa.ChunkedArray) -> Positions:
    """Where each needle lies (first place), -1 where it does not.

    In a few slices, for the hash table of a million ids is larger than the ids.
    """
    place = np.full(len(needles), -1, np.int64)
    slice_rows = max(-(-len(among) // SLICES), 1)
    for start in range(0, len(among), slice_rows):
        found = pc.index_in(needles, value_set=among.slice(start, slice_rows))
        found = np.asarray(pc.fill_null(found, -1), np.int64)
        hit = (found >= 0) & (place < 0)
        place[hit] = found[hit] + start
    return place


def among(column: pa.ChunkedArray, values: pa.Array | pa.ChunkedArray) -> Mask:
    """Which rows have one of the values; a null never has."""
    return mask(pc.and_(pc.is_in(column, value_set=values), pc.is_valid(column)))


def equal_rows(left: pa.Table, right: pa.Table, place: Positions, columns: tuple[str, ...]) -> Mask:
    """Which rows of `left` equal the row of `right` at their `place` in all of `columns`, null being equal to null.

    Where the place is -1 they do not. Column by column and block by block, so that no copy of a table is made.
    """
    same = place >= 0
    if not same.any():
        return same
    in_step = len(left) == len(right) and np.array_equal(place, np.arange(len(left)))
    for name in columns:
        if in_step and left[name].equals(right[name]):
            continue
        whole = right[name].combine_chunks()  # else every `take` would do that
        for start in range(0, len(left), BLOCK):
            block = slice(start, start + BLOCK)
            one, other = left[name].slice(start, BLOCK), whole.take(pa.array(np.maximum(place[block], 0)))
            both_null = pc.and_(pc.is_null(one), pc.is_null(other))
            same[block] &= mask(pc.or_(pc.fill_null(pc.equal(one, other), False), both_null))
    return same


def mask(column: pa.ChunkedArray) -> Mask:
    """A boolean column without nulls as a numpy array."""
    return np.asarray(column, np.bool_)


def without(chosen: Mask, positions: Positions) -> Mask:
    """A copy of a mask in which some rows are not chosen."""
    rest = chosen.copy()
    rest[positions] = False
    return rest


def moment(time: datetime) -> pa.Scalar:
    return pa.scalar(time, pa.timestamp("us", "UTC"))


def live_rows(ledger: pa.Table) -> Mask:
    """Which rows of a ledger are no tombstones."""
    return mask(pc.is_null(ledger["removed_at"]))


class Split(Mapping[str, pa.Table]):
    """The rows of each value of a column by which a table is sorted. They are cut when they are asked for: ten thousand
    slices of a few rows weigh more than the table."""

    def __init__(self, table: pa.Table, column: str) -> None:
        counts = pc.value_counts(table[column])  # in the order of the rows
        rows = np.asarray(counts.field("counts"), np.int64)
        starts = (np.cumsum(rows) - rows).tolist()
        self._table = table
        self._places = dict(
            zip(counts.field("values").to_pylist(), zip(starts, rows.tolist(), strict=True), strict=True)
        )

    def __getitem__(self, value: str) -> pa.Table:
        return self._table.slice(*self._places[value])

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
