"""What batches looked like when a scan last read them, so that the next look may leave alone what still looks so.

A mark is remembered only of a batch of which everything was taken, and holds only while the ledger has that batch as it
was then. What is remembered is derived: without it everything is read again, and nothing else changes.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa

from embeddings_dagster.sources import Scan
from embeddings_dagster.stages.remembered_table import RememberedTable
from embeddings_dagster.store import LedgerManifest

MARKS = pa.schema(
    [("batch", pa.string()), ("mark", pa.string()), ("state", pa.string()), ("looked_at", pa.timestamp("us", "UTC"))]
)
WHOLE = ""  # the name under which the mark of a whole source goes
# A mark can be wrong: a disk may keep the times of a file that changed. So in every look the batches that were read
# longest ago are read again: this many, some seconds of work, and all of 10,000 batches in 50 looks.
READ_AGAIN = 200
# The same for a source with one mark: a small one is always read, a large one when this time has passed.
SMALL = 10_000
WHOLE_HOLDS = timedelta(minutes=10)


class Marks:
    """The remembered marks of one source. `known`: those that may be given to its scan."""

    def __init__(self, cache: Path, source: str) -> None:
        self._remembered = RememberedTable(cache / "marks" / f"{source}.parquet", MARKS)
        self._rows: dict[str, dict[str, object]] = {}
        self.known: dict[str, str] = {}

    def recall(self, ledger: LedgerManifest | None, now: datetime) -> dict[str, str]:
        """The marks that still hold for this ledger, but for those whose batches are to be read again."""
        rows = self._remembered.recall().to_pylist() if ledger else []
        held = {row["batch"]: row for row in rows if row["state"] == _state(ledger, row["batch"])}
        whole = held.pop(WHOLE, None)
        oldest = sorted(held, key=lambda batch: (held[batch]["looked_at"], batch))[:READ_AGAIN]
        for batch in oldest:
            del held[batch]
        self._rows = held
        is_large = ledger is not None and sum(entry.live for entry in ledger.batches.values()) > SMALL
        if whole and is_large and timedelta(0) <= now - whole["looked_at"] < WHOLE_HOLDS:
            self._rows[WHOLE] = whole
        self.known = {batch: str(row["mark"]) for batch, row in self._rows.items()}
        return self.known

    def remember(self, scan: Scan, ledger: LedgerManifest, waiting: Collection[str]) -> None:
        """Take in the marks of a scan whose plan is committed as `ledger`; `waiting`: batches not all of which was
        taken. Of what it left alone, the marks it was given stay."""
        everything = WHOLE in scan.left_alone
        rows = {batch: row for batch, row in self._rows.items() if everything or batch in scan.left_alone}
        for batch, mark in scan.marks.items():
            if batch not in waiting:
                state = _state(ledger, batch)
                rows[batch] = {"batch": batch, "mark": mark, "state": state, "looked_at": scan.started_at}
        self._remembered.remember(pa.Table.from_pylist([rows[batch] for batch in sorted(rows)], schema=MARKS))


def _state(ledger: LedgerManifest | None, batch: str) -> str:
    """What the ledger says of a batch: nothing, if it has none of it; of the whole source by its own hash."""
    if ledger is None:
        return ""
    if batch == WHOLE:
        return ledger.self_sha256
    return ledger.batches[batch].source_state if batch in ledger.batches else ""
