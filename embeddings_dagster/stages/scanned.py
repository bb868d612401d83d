"""A scan, and what follows from it for one ledger or another: nothing here is committed."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from embeddings_dagster.sources import Scan, Source
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.ledger_columns import Split
from embeddings_dagster.stages.ledger_plan import LedgerPlan, plan_ledger
from embeddings_dagster.stages.ledger_rows import ledger_rows
from embeddings_dagster.stages.looks import SEEN
from embeddings_dagster.stages.marks import WHOLE
from embeddings_dagster.stages.settling import Settled, settle
from embeddings_dagster.store import LedgerManifest


@dataclass(frozen=True)
class Judged:
    """A ledger, its rows of the batches that the scan speaks of (schema `LEDGER`), and what of the scan has settled."""

    base: LedgerManifest | None
    rows: pa.Table
    settled: Settled


@dataclass(frozen=True)
class Scanned:
    """A scan that ended at `at`. `before`: the looks that were remembered then, schema `SEEN`."""

    context: StageContext
    source: Source
    scan: Scan
    at: datetime
    before: pa.Table

    def judge(self, base: LedgerManifest | None, *, wait: bool) -> Judged:
        """Hold the scan against a ledger.

        Raises:
            Stopped: a stop was asked for while waiting for the second look.
        """
        rows = self._read(base)
        return Judged(base, rows, settle(self.context, self.source, self.scan, self.at, rows, self.before, wait=wait))

    def trust(self, base: LedgerManifest | None) -> Judged:
        """As if everything had settled."""
        rows = self._read(base)
        ready, certain = np.ones(len(self.scan.entries), np.bool_), np.ones(len(rows), np.bool_)
        return Judged(base, rows, Settled(ready, certain, SEEN.empty_table(), SEEN.empty_table(), False))

    def plan(self, judged: Judged, *, sample: int | None) -> LedgerPlan:
        """What to commit on that ledger."""
        base, read = judged.base, set(self._spoken_of(judged.base))
        return plan_ledger(
            judged.rows,
            self.scan.entries,
            source=self.source.name,
            batch_images=self.context.settings.batch_images,
            scanned_at=self.scan.started_at,
            own_batches=self.source.own_batches,
            settled=judged.settled.ready,
            certain=judged.settled.certain,
            sample=sample,
            left_alone=sum(each.live for key, each in base.batches.items() if key not in read) if base else 0,
        )

    def dated(self, judged: Judged) -> dict[str, pa.Table]:
        """The rows of batches that have settled, and were scraped at another time than the ledger says."""
        entries = judged.base.batches if judged.base else {}
        held = set(judged.rows["batch"].filter(~judged.settled.certain).unique().to_pylist())
        keys = [key for key in self._spoken_of(judged.base) if key in self.scan.scraped_at and key not in held]
        other = [key for key in keys if entries[key].scraped_at != self.scan.scraped_at[key]]
        rows = Split(judged.rows, "batch")
        return {key: rows[key] for key in other if key in rows}

    def waiting(self, judged: Judged) -> set[str]:
        """Batches that cannot be taken whole yet, and the whole source with any of them."""
        entries, rows = self.scan.entries.filter(~judged.settled.ready), judged.rows.filter(~judged.settled.certain)
        found = {*entries["batch"].unique().to_pylist(), *rows["batch"].unique().to_pylist()}
        return {WHOLE, *found} if found else set()

    def _read(self, base: LedgerManifest | None) -> pa.Table:
        return ledger_rows(self.context.store, self.source.name, base, self._spoken_of(base))

    def _spoken_of(self, base: LedgerManifest | None) -> list[str]:
        """The ledger's batches that the scan says something of, if only that they are gone."""
        if base is None or WHOLE in self.scan.left_alone:
            return []
        listed = set(base.batches)
        if self.source.own_batches:
            live = {key for key, entry in base.batches.items() if entry.live}
            listed &= live | set(self.scan.entries["batch"].unique().to_pylist())
        return sorted(listed - self.scan.left_alone)


def take_scan(context: StageContext, source: Source, known: dict[str, str] | None, before: pa.Table) -> Scanned:
    """Scan a source now. Raises SourceError."""
    scan = source.scan(known)
    return Scanned(context, source, scan, datetime.now(UTC), before)
