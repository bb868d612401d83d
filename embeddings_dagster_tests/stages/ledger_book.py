"""A ledger in memory to which plans are applied, one after the other."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from embeddings_dagster.sources import SCAN
from embeddings_dagster.stages.ledger_plan import LedgerPlan, plan_ledger
from embeddings_dagster.store.tables import LEDGER

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
Facts = tuple[int | None, int | None]  # size, mtime_ns


def scan_of(files: Mapping[str, Facts]) -> pa.Table:
    rows = [
        {"local_id": name, "item_id": name, "ordinal": 0, "location": name, "size": size, "mtime_ns": mtime}
        for name, (size, mtime) in sorted(files.items())
    ]
    return pa.Table.from_pylist(rows, schema=SCAN)


class Book:
    """A ledger to which plans are applied, one after the other."""

    def __init__(self, batch_images: int = 4) -> None:
        self.batches: dict[str, pa.Table] = {}
        self.batch_images = batch_images
        self.now = NOON

    @property
    def table(self) -> pa.Table:
        return pa.concat_tables([LEDGER.empty_table(), *self.batches.values()])

    def plan(self, files: Mapping[str, Facts], unsettled: set[str] = frozenset(), **options: object) -> LedgerPlan:
        self.now += timedelta(minutes=1)
        scan = scan_of(files)
        settled = np.array([name not in unsettled for name in scan["local_id"].to_pylist()], np.bool_)
        return plan_ledger(
            self.table,
            scan,
            source="photos",
            batch_images=self.batch_images,
            scanned_at=self.now,
            settled=settled,
            **options,
        )

    def apply(self, files: Mapping[str, Facts], unsettled: set[str] = frozenset(), **options: object) -> LedgerPlan:
        plan = self.plan(files, unsettled, **options)
        self.batches |= plan.batches
        return plan

    def places(self) -> dict[str, tuple[str, bool]]:
        """local id -> (number of its batch, whether it is live)."""
        return {
            row["local_id"]: (row["batch"].removeprefix("photos__00000"), row["removed_at"] is None)
            for row in self.table.to_pylist()
        }

    def live(self) -> dict[str, str]:
        return {name: batch for name, (batch, live) in self.places().items() if live}


def ids_of(plan: LedgerPlan) -> dict[str, list[str]]:
    kinds = ("new", "changed", "returned", "moved", "gone", "unsettled", "left_out")
    return {kind: found for kind in kinds if (found := getattr(plan, kind).to_pylist())}


def numbered(count: int, start: int = 0) -> dict[str, Facts]:
    return {f"{i:04d}.png": (100 + i, 1000 + i) for i in range(start, start + count)}
