"""Small columnar tools for comparing a scan with a ledger: pyarrow columns in, numpy masks and positions out."""

from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]


def keys(table: pa.Table) -> pa.ChunkedArray:
    """One string per row, unique to (local_id, ordinal): a local id holds no bare `#`."""
    if not pc.any(pc.not_equal(table["ordinal"], 0)).as_py():
        return table["local_id"]
    return pc.binary_join_element_wise(table["local_id"], table["ordinal"].cast(pa.string()), "#")


def find(needles: pa.ChunkedArray, among: pa.ChunkedArray) -> Positions:
    """Where each needle lies (first place), -1 where it does not."""
    return np.asarray(pc.fill_null(pc.index_in(needles, value_set=among), -1), np.int64)


def equal_rows(left: pa.Table, right: pa.Table, columns: tuple[str, ...]) -> Mask:
    """Which rows are equal in all of `columns`, null being equal to null."""
    equal = np.ones(len(left), np.bool_)
    for name in columns:
        one, other = left[name], right[name]
        both_null = pc.and_(pc.is_null(one), pc.is_null(other))
        equal &= mask(pc.or_(pc.fill_null(pc.equal(one, other), False), both_null))
    return equal


def mask(column: pa.ChunkedArray) -> Mask:
    """A boolean column without nulls as a numpy array."""
    return np.asarray(column, np.bool_)


def moment(time: datetime) -> pa.Scalar:
    return pa.scalar(time, pa.timestamp("us", "UTC"))


def split_sorted(table: pa.Table, column: str) -> dict[str, pa.Table]:
    """The rows of each value of a column by which the table is sorted."""
    parts: dict[str, pa.Table] = {}
    start = 0
    for entry in pc.value_counts(table[column]).to_pylist():
        parts[entry["values"]] = table.slice(start, entry["counts"])
        start += entry["counts"]
    return parts
