"""Which new pictures are old ones under another name; pure.

Told without reading a byte: a file that is moved or renamed keeps its size and its time of change. A wrong guess is
harmless, since pixels are compared by their hash further down the line; a missed move only costs a new place.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embeddings_dagster.stages.ledger_columns import Positions, find


def pair_moves(gone: pa.Table, new: pa.Table) -> tuple[Positions, Positions]:
    """Pairs of rows, each used once: positions in `gone`, and positions in `new` in the same order.

    Both tables have `local_id, ordinal, location, size, mtime_ns`. First those are paired that agree in size, mtime,
    ordinal and file name; several that agree in all of it are paired in the order of their ids. Of what is left, those
    are paired that are alone on both sides with their size and mtime.
    """
    by_name = _pair(_traits(gone, with_name=True), _traits(new, with_name=True))
    rest_gone, rest_new = _rest(len(gone), by_name[0]), _rest(len(new), by_name[1])
    left, right = _traits(gone.take(rest_gone), with_name=False), _traits(new.take(rest_new), with_name=False)
    alone = _pair(_unique_only(left), _unique_only(right))
    return (
        np.concatenate([by_name[0], rest_gone[alone[0]]]),
        np.concatenate([by_name[1], rest_new[alone[1]]]),
    )


def _traits(rows: pa.Table, *, with_name: bool) -> pa.Table:
    """`position`, `local_id`, and `trait`: what a move leaves as it was. Rows of unknown size or mtime have none."""
    parts = [rows[name].cast(pa.string()) for name in ("size", "mtime_ns", "ordinal")]
    if with_name:
        parts.append(pc.replace_substring_regex(rows["location"], r"(?s)^.*/", ""))
    table = pa.table(
        {
            "position": np.arange(len(rows)),
            "local_id": rows["local_id"],
            "trait": pc.binary_join_element_wise(*parts, "/"),
        }
    )
    return table.filter(pc.is_valid(table["trait"])).sort_by([("trait", "ascending"), ("local_id", "ascending")])


def _unique_only(traits: pa.Table) -> pa.Table:
    counts = pc.value_counts(traits["trait"])
    alone = counts.field("values").filter(pc.equal(counts.field("counts"), 1))
    return traits.filter(pc.is_in(traits["trait"], value_set=alone))


def _pair(gone: pa.Table, new: pa.Table) -> tuple[Positions, Positions]:
    """Match the n-th of each trait on one side with the n-th on the other; tables as `_traits` gives them."""
    place = find(_numbered(new), _numbered(gone))
    met = place >= 0
    return np.asarray(gone["position"])[place[met]], np.asarray(new["position"])[met]


def _numbered(traits: pa.Table) -> pa.ChunkedArray:
    """Each trait with its rank among equals; the table is sorted by trait."""
    counts = np.asarray(pc.value_counts(traits["trait"]).field("counts"), np.int64)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    rank = pa.array(np.arange(len(traits)) - starts).cast(pa.string())
    return pc.binary_join_element_wise(rank, traits["trait"], "/")


def _rest(count: int, used: Positions) -> Positions:
    free = np.ones(count, np.bool_)
    free[used] = False
    return np.flatnonzero(free)
