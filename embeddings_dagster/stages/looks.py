"""Two looks at a file before it is taken: a picture that is still being copied is left for the next time.

First looks are remembered from one tick of a sensor to the next. What is remembered is derived: without it a file is
taken one look later, and nothing else changes.
"""

import os
import uuid
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from embeddings_dagster.sources import LOOK
from embeddings_dagster.stages.ledger_columns import Mask, equal_rows, find, mask, moment

APART = timedelta(seconds=2)
SEEN = pa.schema([*LOOK, pa.field("seen_at", pa.timestamp("us", "UTC"))])


class Looks:
    """The remembered looks of one source, schema `SEEN`: each file that is waited for, and since when it looks so."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def recall(self) -> pa.Table:
        """What is remembered; nothing, if the file is not there or damaged."""
        try:
            return pq.read_table(self._path).select(SEEN.names).cast(SEEN)
        except (OSError, KeyError, ValueError):  # pyarrow's own errors are kinds of these
            return SEEN.empty_table()

    def remember(self, looks: pa.Table) -> None:
        """Replace what is remembered, whole or not at all."""
        if looks.equals(self.recall()):
            return
        if not len(looks):
            self._path.unlink(missing_ok=True)
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(f".{self._path.name}.{uuid.uuid4().hex}.tmp")
        try:
            pq.write_table(looks, temporary)
            os.replace(temporary, self._path)
        finally:
            temporary.unlink(missing_ok=True)


def steady_since(looks: pa.Table, before: pa.Table, at: datetime) -> pa.Table:
    """`looks` (schema `LOOK`, taken at `at`) with `seen_at`: `at`, or the time of an earlier look that was the same."""
    place = find(looks["location"], before["location"])
    known = place >= 0
    earlier = before.take(place[known])
    same = np.zeros(len(looks), np.bool_)
    in_the_past = mask(pc.less_equal(earlier["seen_at"], moment(at)))  # the clock may have been set back
    same[known] = equal_rows(looks.filter(known), earlier, ("size", "mtime_ns")) & in_the_past
    times = pa.concat_arrays([*before["seen_at"].chunks, pa.array([at], SEEN.field("seen_at").type)])
    seen_at = times.take(pa.array(np.where(same, place, len(before))))
    return pa.table([looks["location"], looks["size"], looks["mtime_ns"], seen_at], schema=SEEN)


def settled(looks: pa.Table, at: datetime) -> Mask:
    """Which looks (schema `SEEN`) had been the same for long enough by `at`."""
    return mask(pc.less_equal(looks["seen_at"], moment(at - APART)))
