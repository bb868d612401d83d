"""A scan held against a ledger: what is new, changed, back or gone; pure and columnar."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embeddings_dagster.sources import SCAN
from embeddings_dagster.stages.ledger_columns import (
    Mask,
    Positions,
    equal_rows,
    find,
    keys,
    live_rows,
    mask,
    moment,
    without,
)
from embeddings_dagster.store.tables import LEDGER

KEY = ("batch", "local_id", "ordinal")
# What a ledger row says of the picture itself; a difference in any of these is a change.
FACTS = tuple(name for name in SCAN.names if name in LEDGER.names and name not in KEY)


@dataclass(frozen=True)
class Comparison:
    """Masks over the scan's rows, but `gone`, which is over the ledger's; `place` is the ledger position of each
    scanned row, -1 where there is none."""

    place: Positions
    new: Mask
    changed: Mask
    returned: Mask
    unchanged: Mask
    gone: Mask

    @property
    def arriving(self) -> Mask:
        """What has to settle before it is taken."""
        return self.new | self.changed | self.returned


def compare(
    ledger: pa.Table, scan: pa.Table, *, own_batches: bool = False, scanned_at: datetime | None = None
) -> Comparison:
    """Compare all of a scan (schema `SCAN`) with the ledger's rows of the batches it speaks of (schema `LEDGER`).

    Where the source has its `own_batches`, a picture in another batch is another row. Ledger rows first seen after
    `scanned_at` are not taken to be gone: another process added them, and the scan could not see them.
    """
    place = _places(scan, ledger, own_batches=own_batches)
    known = place >= 0
    live = live_rows(ledger)
    was_live = np.zeros(len(scan), np.bool_)
    was_live[known] = live[place[known]]
    same = equal_rows(scan, ledger, place, FACTS)
    gone = without(live, place[known])
    if scanned_at is not None:
        gone &= ~mask(pc.fill_null(pc.greater(ledger["first_seen"], moment(scanned_at)), False))
    return Comparison(
        place=place,
        new=~known,
        changed=was_live & ~same,
        returned=known & ~was_live,
        unchanged=was_live & same,
        gone=gone,
    )


def _places(scan: pa.Table, ledger: pa.Table, *, own_batches: bool) -> Positions:
    """Where each scanned row lies in the ledger. Mostly nothing has come or gone, and then no key has to be made."""
    names = KEY if own_batches else KEY[1:]
    if len(scan) == len(ledger) and all(scan[name].equals(ledger[name]) for name in names):
        return np.arange(len(scan))
    return find(keys(scan, with_batch=own_batches), keys(ledger, with_batch=own_batches))
