"""What a scan of a source changes in its ledger; pure and columnar, so that a million pictures are seconds of work.

Its promise: a picture never leaves the batch it was placed in. It keeps its row when it changes, its batch when it is
moved or renamed, and its place (a tombstone, `removed_at` set) when it is gone, to which it returns if seen again. New
pictures fill the source's last batch up to the limit, then a new one; changing the limit moves nothing. A source that
has batches of its own is taken at its word: a picture is where it says, in several batches if it says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embeddings_dagster.errors import RemovalRefused
from embeddings_dagster.settings import RemovalSettings
from embeddings_dagster.sources import SCAN
from embeddings_dagster.stages.ledger_columns import (
    Mask,
    Positions,
    Split,
    among,
    keys,
    live_rows,
    moment,
    without,
)
from embeddings_dagster.stages.ledger_compare import KEY, Comparison, compare
from embeddings_dagster.stages.ledger_moves import pair_moves
from embeddings_dagster.stages.ledger_place import next_batches, sampled
from embeddings_dagster.store.tables import LEDGER

_EXAMPLES = 5


@dataclass(frozen=True)
class LedgerPlan:
    """What to commit, and the local ids (sorted) behind it.

    `batches`: the whole new table (schema `LEDGER`, tombstones included) of each batch that differs. `new`, `changed`,
    `returned`, `moved` (by their new ids) and `gone` are committed with it; `unsettled` wait for a second look, and
    `left_out` lie outside of the sample. `lost`: those of `gone` that the scan has in no other batch either. `found`
    counts the scan's rows, `live_before` those the plan started from, `left_alone` the live ones in batches of which
    the scan says nothing.
    """

    source: str
    batches: Mapping[str, pa.Table]
    found: int
    live_before: int
    left_alone: int
    unchanged: int
    new: pa.ChunkedArray
    changed: pa.ChunkedArray
    returned: pa.ChunkedArray
    moved: pa.ChunkedArray
    gone: pa.ChunkedArray
    lost: pa.ChunkedArray
    unsettled: pa.ChunkedArray
    left_out: pa.ChunkedArray


def plan_ledger(
    ledger: pa.Table,
    scan: pa.Table,
    *,
    source: str,
    batch_images: int,
    scanned_at: datetime,
    own_batches: bool = False,
    settled: Mask | None = None,
    certain: Mask | None = None,
    sample: int | None = None,
    left_alone: int = 0,
) -> LedgerPlan:
    """Compare a scan with the ledger.

    Args:
        ledger: the rows of the source's ledger, schema `LEDGER`, of every batch that the scan speaks of, sorted.
        scan: all pictures there are, schema `SCAN`, sorted, each key once.
        batch_images: how many rows a batch holds before the next one is begun; tombstones count.
        scanned_at: when the scan began. It becomes `first_seen` and `removed_at`; ledger rows first seen later, by
            another process, are not taken to be gone, for this scan could not see them.
        own_batches: whether the scan says which batch each picture is in; `batch_images` then means nothing.
        settled: which scanned rows may be taken, a mask; default all. The others leave the ledger as it is.
        certain: which ledger rows may be taken to be gone when the scan lacks them, a mask; default all.
        sample: let only these many pictures of the scan enter, always the same ones. It makes nothing gone.
        left_alone: how many live images lie in batches of which the scan says nothing.
    """
    compared = compare(ledger, scan, own_batches=own_batches, scanned_at=scanned_at)
    settled = np.ones(len(scan), np.bool_) if settled is None else settled
    certain = np.ones(len(ledger), np.bool_) if certain is None else certain
    wanted = sampled(scan, sample)
    # The same hash is the same vector, in whatever batch; so there is nothing to be won from moves between own ones.
    move_from, move_to = _moves(ledger, scan, compared) if not own_batches else (np.empty(0, np.int64),) * 2
    fresh = without(compared.new, move_to)
    # The old name of a move stays as it is until the new one has settled, and the new one waits until the old is gone.
    taken = settled[move_to] & certain[move_from]
    settled = without(settled, move_to[~taken])
    tombstones = without(compared.gone & certain, move_from[~taken])
    move_from, move_to = move_from[taken], move_to[taken]
    updated = (compared.changed | compared.returned) & settled

    kept = _with_updates(ledger, scan, compared.place, updated)
    kept = _with_tombstones(kept, tombstones, scanned_at)
    followed = _rows(scan, move_to, ledger["batch"].take(move_from), ledger["first_seen"].take(move_from))
    entering = np.flatnonzero(fresh & settled & wanted)
    if own_batches:
        places = scan["batch"].take(entering)
    else:
        places = next_batches(pa.chunked_array([*kept["batch"].chunks, *followed["batch"].chunks], pa.string()),
                              len(entering), source, batch_images)  # fmt: skip
    placed = _rows(scan, entering, places, pa.chunked_array([pa.repeat(moment(scanned_at), len(entering))]))
    touched = [
        ledger["batch"].take(compared.place[updated]),
        ledger["batch"].filter(tombstones),
        followed["batch"],
        placed["batch"],
    ]
    gone = ledger.filter(without(tombstones, move_from))
    return LedgerPlan(
        source=source,
        batches=_by_batch([kept, followed, placed], touched),
        found=len(scan),
        live_before=int(live_rows(ledger).sum()) + left_alone,
        left_alone=left_alone,
        unchanged=int(compared.unchanged.sum()),
        new=placed["local_id"],
        changed=scan["local_id"].filter(compared.changed & settled),
        returned=scan["local_id"].filter(compared.returned & settled),
        moved=followed["local_id"],
        gone=gone["local_id"],
        lost=gone["local_id"].filter(~among(keys(gone), keys(scan))) if len(gone) else gone["local_id"],
        unsettled=scan["local_id"].filter(compared.arriving & ~settled & ~(fresh & ~wanted)),
        left_out=scan["local_id"].filter(fresh & ~wanted),
    )


def refuse_implausible_removal(plan: LedgerPlan, limits: RemovalSettings) -> None:
    """Stop a plan that looks like an accident: a disk that is not mounted, a folder that was emptied or half copied.

    Raises:
        RemovalRefused: it removes more than both limits allow, or all pictures, because the source shows none.
    """
    lost, before = len(plan.lost), plan.live_before
    if lost and plan.found == plan.left_alone == 0:
        reason = "the source shows no picture at all"
    elif lost > limits.images and lost > limits.fraction * before:
        reason = f"more than removals.images = {limits.images:,} and removals.fraction = {limits.fraction:g} allow"
    else:
        return
    examples = ", ".join(plan.lost.slice(0, _EXAMPLES).to_pylist()) + (", …" if lost > _EXAMPLES else "")
    raise RemovalRefused(
        f"source {plan.source!r}: {lost:,} of {before:,} images are no longer there ({examples}): {reason}. Nothing "
        "was removed. Check that the disk is mounted; if they are meant to go, run again with --allow-removals."
    )


def _moves(ledger: pa.Table, scan: pa.Table, compared: Comparison) -> tuple[Positions, Positions]:
    """Ledger positions and scan positions of the same pictures under an old and a new name."""
    old, new = np.flatnonzero(compared.gone), np.flatnonzero(compared.new)
    if not len(old) or not len(new):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    columns = ["local_id", "ordinal", "location", "size", "mtime_ns"]
    of_old, of_new = pair_moves(ledger.select(columns).take(old), scan.select(columns).take(new))
    return old[of_old], new[of_new]


def _with_updates(ledger: pa.Table, scan: pa.Table, place: Positions, updated: Mask) -> pa.Table:
    """The ledger with the facts of the updated rows as scanned, alive again where they were tombstones."""
    positions = place[updated]
    if not len(positions):
        return ledger
    rows = _rows(scan, np.flatnonzero(updated), *(ledger[name].take(positions) for name in ("batch", "first_seen")))
    order = np.arange(len(ledger))
    order[positions] = len(ledger) + np.arange(len(positions))
    return pa.concat_tables([ledger, rows]).take(order)


def _with_tombstones(ledger: pa.Table, gone: Mask, removed_at: datetime) -> pa.Table:
    column = pc.if_else(pa.chunked_array([gone]), moment(removed_at), ledger["removed_at"])
    return ledger.set_column(ledger.schema.get_field_index("removed_at"), "removed_at", column)


def _rows(scan: pa.Table, rows: Positions, batch: pa.ChunkedArray, first_seen: pa.ChunkedArray) -> pa.Table:
    """Live ledger rows of some scanned pictures."""
    taken = scan if np.array_equal(rows, np.arange(len(scan))) else scan.take(rows)
    columns = {name: taken[name] for name in SCAN.names}
    columns |= {"batch": batch, "first_seen": first_seen}
    columns["removed_at"] = pa.nulls(len(rows), LEDGER.field("removed_at").type)
    return pa.table({name: columns[name] for name in LEDGER.names}, schema=LEDGER)


def _by_batch(parts: list[pa.Table], touched: list[pa.ChunkedArray]) -> Split:
    """The rows of the touched batches. Each part is sorted; where there is only one, nothing has to be copied."""
    rows = pa.concat_tables(parts)
    names = pa.array(sorted(set().union(*(column.unique().to_pylist() for column in touched))), pa.string())
    chosen = among(rows["batch"], names)
    if not chosen.all():
        rows = rows.filter(chosen)
    if sum(map(bool, map(len, parts))) > 1:
        rows = rows.sort_by([(name, "ascending") for name in KEY])
    return Split(rows, "batch")
