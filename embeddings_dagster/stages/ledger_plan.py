"""What a scan of a source changes in its ledger; pure and columnar, so that a million pictures are seconds of work.

Its promise: a picture never leaves the batch it was placed in. It keeps its row when it changes, its batch when it is
moved or renamed, and its place (a tombstone, `removed_at` set) when it is gone, to which it returns if seen again. New
pictures fill the source's last batch up to the limit, then a new one; changing the limit moves nothing.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embeddings_dagster import ids
from embeddings_dagster.errors import RemovalRefused
from embeddings_dagster.settings import RemovalSettings
from embeddings_dagster.sources import SCAN
from embeddings_dagster.stages.ledger_columns import Mask, Positions, equal_rows, find, keys, mask, moment, split_sorted
from embeddings_dagster.stages.ledger_moves import pair_moves
from embeddings_dagster.store.tables import LEDGER

# What a ledger row says of the picture itself; a difference in any of these is a change.
_FACTS = tuple(name for name in SCAN.names if name not in ("local_id", "ordinal"))
_EXAMPLES = 5


@dataclass(frozen=True)
class LedgerPlan:
    """What to commit, and the local ids (sorted) behind it.

    `batches`: the whole new table (schema `LEDGER`, tombstones included) of each batch that differs. `new`, `changed`,
    `returned`, `moved` (by their new ids) and `gone` are committed with it; `unsettled` wait for a second look, and
    `left_out` lie outside of the sample. `found` counts the scan's rows, `live_before` those the plan started from.
    """

    source: str
    batches: Mapping[str, pa.Table]
    found: int
    live_before: int
    unchanged: int
    new: pa.ChunkedArray
    changed: pa.ChunkedArray
    returned: pa.ChunkedArray
    moved: pa.ChunkedArray
    gone: pa.ChunkedArray
    unsettled: pa.ChunkedArray
    left_out: pa.ChunkedArray


@dataclass(frozen=True)
class _Comparison:
    """Scan against ledger. Masks over the scan's rows, but `gone`, which is over the ledger's; `place` is the ledger
    position of each scanned row, -1 where there is none."""

    place: Positions
    new: Mask
    changed: Mask
    returned: Mask
    unchanged: Mask
    gone: Mask

    @property
    def arriving(self) -> Mask:
        return self.new | self.changed | self.returned


def arriving(ledger: pa.Table, scan: pa.Table) -> Mask:
    """Which rows of the scan are new, changed or back, and so have to settle first; a mask over the scan's rows."""
    return _compare(ledger, scan, None).arriving


def plan_ledger(
    ledger: pa.Table,
    scan: pa.Table,
    *,
    source: str,
    batch_images: int,
    scanned_at: datetime,
    settled: Mask | None = None,
    sample: int | None = None,
) -> LedgerPlan:
    """Compare a scan with the ledger.

    Args:
        ledger: all rows of the source's ledger, schema `LEDGER`, each (local_id, ordinal) in one batch.
        scan: all pictures there are, schema `SCAN`, sorted, each (local_id, ordinal) once.
        batch_images: how many rows a batch holds before the next one is begun; tombstones count.
        scanned_at: when the scan began. It becomes `first_seen` and `removed_at`; ledger rows first seen later, by
            another process, are not taken to be gone, for this scan could not see them.
        settled: which scanned rows may be taken, a mask; default all. The others leave the ledger as it is.
        sample: let only these many pictures of the scan enter, always the same ones. It makes nothing gone.
    """
    compared = _compare(ledger, scan, scanned_at)
    settled = np.ones(len(scan), np.bool_) if settled is None else settled
    wanted = _sampled(scan, sample)
    move_from, move_to = _moves(ledger, scan, compared)
    fresh = _without(compared.new, move_to)
    # The old name of a move stays as it is until the new one has settled.
    waiting, moved_from, moved_to = move_from[~settled[move_to]], move_from[settled[move_to]], move_to[settled[move_to]]
    tombstones = _without(compared.gone, waiting)
    updated = (compared.changed | compared.returned) & settled

    kept = _with_updates(ledger, scan, compared.place, updated)
    kept = _with_tombstones(kept, tombstones, scanned_at)
    followed = _rows(scan, moved_to, ledger["batch"].take(moved_from), ledger["first_seen"].take(moved_from))
    entering = np.flatnonzero(fresh & settled & wanted)
    placed = _place(scan, entering, pa.concat_tables([kept, followed]), source, batch_images, scanned_at)
    touched = [
        ledger["batch"].take(compared.place[updated]),
        ledger["batch"].filter(tombstones),
        followed["batch"],
        placed["batch"],
    ]
    return LedgerPlan(
        source=source,
        batches=_by_batch(pa.concat_tables([kept, followed, placed]), touched),
        found=len(scan),
        live_before=int(_live(ledger).sum()),
        unchanged=int(compared.unchanged.sum()),
        new=placed["local_id"],
        changed=scan["local_id"].filter(compared.changed & settled),
        returned=scan["local_id"].filter(compared.returned & settled),
        moved=followed["local_id"],
        gone=ledger["local_id"].filter(_without(tombstones, moved_from)),
        unsettled=scan["local_id"].filter(compared.arriving & ~settled & ~(fresh & ~wanted)),
        left_out=scan["local_id"].filter(fresh & ~wanted),
    )


def refuse_implausible_removal(plan: LedgerPlan, limits: RemovalSettings) -> None:
    """Stop a plan that looks like an accident: a disk that is not mounted, a folder that was emptied or half copied.

    Raises:
        RemovalRefused: it removes more than both limits allow, or all pictures, because the source shows none.
    """
    gone, before = len(plan.gone), plan.live_before
    if gone and plan.found == 0:
        reason = "the source shows no picture at all"
    elif gone > limits.images and gone > limits.fraction * before:
        reason = f"more than removals.images = {limits.images:,} and removals.fraction = {limits.fraction:g} allow"
    else:
        return
    examples = ", ".join(plan.gone.slice(0, _EXAMPLES).to_pylist()) + (", …" if gone > _EXAMPLES else "")
    raise RemovalRefused(
        f"source {plan.source!r}: {gone:,} of {before:,} images are no longer there ({examples}): {reason}. Nothing "
        "was removed. Check that the disk is mounted; if they are meant to go, run again with --allow-removals."
    )


def _compare(ledger: pa.Table, scan: pa.Table, scanned_at: datetime | None) -> _Comparison:
    place = find(keys(scan), keys(ledger))
    known = place >= 0
    live = _live(ledger)
    was_live, same = np.zeros(len(scan), np.bool_), np.zeros(len(scan), np.bool_)
    was_live[known] = live[place[known]]
    same[known] = equal_rows(scan.filter(known), ledger.take(place[known]), _FACTS)
    unseen = _without(live, place[known])
    if scanned_at is not None:
        unseen &= ~mask(pc.fill_null(pc.greater(ledger["first_seen"], moment(scanned_at)), False))
    return _Comparison(
        place=place,
        new=~known,
        changed=was_live & ~same,
        returned=known & ~was_live,
        unchanged=was_live & same,
        gone=unseen,
    )


def _moves(ledger: pa.Table, scan: pa.Table, compared: _Comparison) -> tuple[Positions, Positions]:
    """Ledger positions and scan positions of the same pictures under an old and a new name."""
    old, new = np.flatnonzero(compared.gone), np.flatnonzero(compared.new)
    columns = ["local_id", "ordinal", "location", "size", "mtime_ns"]
    of_old, of_new = pair_moves(ledger.select(columns).take(old), scan.select(columns).take(new))
    return old[of_old], new[of_new]


def _sampled(scan: pa.Table, sample: int | None) -> Mask:
    """The `sample` pictures whose ids hash lowest: the same on every run, and a part of every larger sample."""
    if sample is None or sample >= len(scan):
        return np.ones(len(scan), np.bool_)
    digests = b"".join(hashlib.blake2b(key.encode(), digest_size=8).digest() for key in keys(scan).to_pylist())
    chosen = np.zeros(len(scan), np.bool_)
    chosen[np.argsort(np.frombuffer(digests, ">u8"), kind="stable")[:sample]] = True
    return chosen


def _with_updates(ledger: pa.Table, scan: pa.Table, place: Positions, updated: Mask) -> pa.Table:
    """The ledger with the facts of the updated rows as scanned, alive again where they were tombstones."""
    positions = place[updated]
    rows = _rows(scan, np.flatnonzero(updated), *(ledger[name].take(positions) for name in ("batch", "first_seen")))
    order = np.arange(len(ledger))
    order[positions] = len(ledger) + np.arange(len(positions))
    return pa.concat_tables([ledger, rows]).take(order)


def _with_tombstones(ledger: pa.Table, gone: Mask, removed_at: datetime) -> pa.Table:
    column = pc.if_else(pa.chunked_array([gone]), moment(removed_at), ledger["removed_at"])
    return ledger.set_column(ledger.schema.get_field_index("removed_at"), "removed_at", column)


def _place(
    scan: pa.Table, rows: Positions, ledger: pa.Table, source: str, batch_images: int, first_seen: datetime
) -> pa.Table:
    """New rows in the order of their ids: the source's last batch is filled up, then others are begun."""
    pattern = re.compile(re.escape(source) + r"__(\d{6,})")
    counts = pc.value_counts(ledger["batch"]).to_pylist()
    numbers = {int(match[1]): entry["counts"] for entry in counts if (match := pattern.fullmatch(entry["values"]))}
    last = max(numbers, default=1)
    # A batch can hold more than the limit: moves brought rows, or the limit was lowered. It is full, no more.
    held = min(numbers.get(last, 0), batch_images)
    assigned = last + (held + np.arange(len(rows))) // batch_images
    labels = [ids.batch_key(source, f"{number:06d}") for number in range(last, last + len(rows) // batch_images + 2)]
    batches = pa.chunked_array([pa.array(labels, pa.string()).take(pa.array(assigned - last))])
    return _rows(scan, rows, batches, pa.chunked_array([pa.repeat(moment(first_seen), len(rows))]))


def _rows(scan: pa.Table, rows: Positions, batch: pa.ChunkedArray, first_seen: pa.ChunkedArray) -> pa.Table:
    """Live ledger rows of some scanned pictures."""
    taken = scan.take(rows)
    columns = {name: taken[name] for name in SCAN.names}
    columns |= {"batch": batch, "first_seen": first_seen}
    columns["removed_at"] = pa.nulls(len(rows), LEDGER.field("removed_at").type)
    return pa.table({name: columns[name] for name in LEDGER.names}, schema=LEDGER)


def _by_batch(rows: pa.Table, touched: list[pa.ChunkedArray]) -> dict[str, pa.Table]:
    names = pa.array(sorted(set().union(*(column.unique().to_pylist() for column in touched))), pa.string())
    order = [(name, "ascending") for name in ("batch", "local_id", "ordinal")]
    return split_sorted(rows.filter(pc.is_in(rows["batch"], value_set=names)).sort_by(order), "batch")


def _live(ledger: pa.Table) -> Mask:
    return mask(pc.is_null(ledger["removed_at"]))


def _without(chosen: Mask, positions: Positions) -> Mask:
    rest = chosen.copy()
    rest[positions] = False
    return rest
