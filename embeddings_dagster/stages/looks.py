"""Two looks at a file before it is taken: what is still being copied or written is left for the next time.

First looks are remembered from one tick of a sensor to the next. What is remembered is derived: without it a file is
taken one look later, and nothing else changes.
"""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embeddings_dagster.sources import LOOK
from embeddings_dagster.stages.ledger_columns import Mask, equal_rows, find, mask, moment
from embeddings_dagster.stages.remembered_table import RememberedTable

APART = timedelta(seconds=2)
SEEN = pa.schema([*LOOK, pa.field("seen_at", pa.timestamp("us", "UTC"))])


def remembered_looks(cache: Path, source: str) -> RememberedTable:
    """The looks of one source, schema `SEEN`: each file that is waited for, and since when it looks so."""
    return RememberedTable(cache / "looks" / f"{source}.parquet", SEEN)


def steady_since(looks: pa.Table, before: pa.Table, at: datetime) -> pa.Table:
    """`looks` (schema `LOOK`, taken at `at`) with `seen_at`: `at`, or the time of an earlier look that was the same."""
    before = before.filter(pc.less_equal(before["seen_at"], moment(at)))  # the clock may have been set back
    place = find(looks["location"], before["location"])
    same = equal_rows(looks, before, place, ("size", "mtime_ns"))
    times = pa.concat_arrays([*before["seen_at"].chunks, pa.array([at], SEEN.field("seen_at").type)])
    seen_at = times.take(pa.array(np.where(same, place, len(before))))
    return pa.table([looks["location"], looks["size"], looks["mtime_ns"], seen_at], schema=SEEN)


def old_enough(looks: pa.Table, at: datetime) -> Mask:
    """Which looks (schema `SEEN`) had been the same for long enough by `at`."""
    return mask(pc.less_equal(looks["seen_at"], moment(at - APART)))
