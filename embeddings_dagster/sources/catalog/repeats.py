"""Ids that several rows of a catalogue have: which row counts, and where the others say something else."""

from itertools import islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embeddings_dagster.sources.catalog.packed import PackedMetadata, positions
from embeddings_dagster.sources.catalog.rows import CatalogRules, Report
from embeddings_dagster.sources.problems import MOST

# A usable row: its id or number as text, its number and line, whether it names its id, and a hash of all that it says.
ROWS = pa.schema(
    [
        ("local_id", pa.string()),
        ("number", pa.int64()),
        ("line", pa.int64()),
        ("named", pa.bool_()),
        ("content", pa.int64()),
    ]
)
Positions = npt.NDArray[np.int64]
_SHOWN = 8  # differences that a message names


class Repeats:
    """`ids`: of all rows, in their order; `kept`: a mask of the rows that count; `dropped`: the positions of others, in
    the order of the file; `instead`: of the row that counts in place of each."""

    def __init__(self, rows: pa.Table, rules: CatalogRules, *, last: bool) -> None:
        """`rows`: schema `ROWS`, in the order of the file. `last`: the last row of an id counts, else the first."""
        self.ids = _ids(rows, rules.prefix)
        self._rows = rows
        order = positions(pc.sort_indices(pa.table({"id": self.ids, "at": np.arange(len(rows))}), _BY_ID))
        sorted_ids = self.ids.take(order).combine_chunks()
        first = np.ones(len(rows), np.bool_)
        first[1:] = np.asarray(pc.not_equal(sorted_ids[1:], sorted_ids[:-1]), np.bool_)
        starts = np.flatnonzero(first)
        counts = np.diff(np.append(starts, len(rows)))
        counting = order[starts + counts - 1 if last else starts]
        self.kept = np.zeros(len(rows), np.bool_)
        self.kept[counting] = True
        instead = np.empty(len(rows), np.int64)
        instead[order] = np.repeat(counting, counts)
        self.dropped = np.flatnonzero(~self.kept)
        self.instead = instead[self.dropped]

    @property
    def unnamed(self) -> tuple[int, int]:
        """How many rows name no id, and the line of the first."""
        unnamed = self._rows["line"].filter(pc.invert(self._rows["named"]))
        return len(unnamed), unnamed[0].as_py() if len(unnamed) else 0

    def tell(self, report: Report, pictures: pa.Table, metadata: PackedMetadata) -> None:
        """A problem for each row that is dropped and says something else than the one that counts."""
        content, lines = positions(self._rows["content"]), positions(self._rows["line"])
        differs = content[self.dropped] != content[self.instead]
        pairs = list(zip(self.dropped[differs].tolist(), self.instead[differs].tolist(), strict=True))
        told = pairs[:MOST]
        said = metadata.take([row for pair in told for row in pair])
        addresses = _addresses(pictures, [row for pair in told for row in pair])
        for dropped, counting in told:
            one, other = said[dropped], said[counting]
            names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
            if addresses[dropped] != addresses[counting]:
                names.insert(0, "its pictures")
            differences = ", ".join(islice(names, _SHOWN)) + (", …" if len(names) > _SHOWN else "")
            report.conflict(
                int(lines[dropped]),
                f"repeats the id {self.ids[dropped].as_py()!r} of {report.unit} {lines[counting]:,}, which counts, and "
                f"differs from it in {differences or 'what it lacks'}; give each its own id, or delete one",
            )
        for dropped, _ in pairs[MOST:]:
            report.conflict(int(lines[dropped]), "repeats an id, and differs")


_BY_ID = [("id", "ascending"), ("at", "ascending")]


def _ids(rows: pa.Table, prefix: str) -> pa.ChunkedArray:
    """The ids of all rows. The number of one without an id, where another row has it for an id, becomes `row-17`."""
    ids, named = rows["local_id"], rows["named"]
    if pc.all(named).as_py():
        return ids
    numbers = pc.binary_join_element_wise(prefix, ids, "")
    taken = pc.is_in(numbers, value_set=ids.filter(named))
    numbers = pc.if_else(taken, pc.binary_join_element_wise(f"{prefix}row-", ids, ""), numbers)
    return pc.if_else(named, ids, numbers)


def _addresses(pictures: pa.Table, rows: list[int]) -> dict[int, list[tuple[object, ...]]]:
    of_row = positions(pictures["row"])
    starts, ends = np.searchsorted(of_row, rows), np.searchsorted(of_row, rows, side="right")
    return {
        row: [
            (each["ordinal"], each["location"], each["kind"])
            for each in pictures.slice(start, end - start).select(["ordinal", "location", "kind"]).to_pylist()
        ]
        for row, start, end in zip(rows, starts.tolist(), ends.tolist(), strict=True)
    }
