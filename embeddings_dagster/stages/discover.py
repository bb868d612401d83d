"""Discovery: the one writer of ledgers. Scan a source, let files settle, plan, guard, commit.

A ledger after it is the ledger before it or the whole plan. A commit that loses the race is planned again from the
winner's ledger, on the same scan. Nothing is read but names, sizes and times.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from embeddings_dagster.errors import CommitConflict
from embeddings_dagster.sources import LOOK, Problem, Scan, Source
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.ledger_columns import Mask
from embeddings_dagster.stages.ledger_plan import LedgerPlan, arriving, plan_ledger, refuse_implausible_removal
from embeddings_dagster.stages.looks import APART, Looks, settled, steady_since
from embeddings_dagster.stages.opened import opened_source
from embeddings_dagster.store import Ledger, LedgerManifest
from embeddings_dagster.store.tables import LEDGER

ATTEMPTS = 5  # a race is lost to a writer who has committed; five in a row are no race any more


@dataclass(frozen=True)
class Survey:
    """What a scan found and what it would change; nothing is committed. `base` is the ledger it was compared with."""

    scan: Scan
    plan: LedgerPlan
    base: LedgerManifest | None


@dataclass(frozen=True)
class Discovery:
    """What one discovery did. Counts are of images; `moved` ones are neither new nor gone.

    `unsettled` were seen but left for the next look, `left_out` lie outside of the sample. `batches_changed` are the
    batches whose rows differ from before. `problems` and `ignored`: what the source passed over, and why.
    """

    source: str
    found: int
    new: int
    changed: int
    returned: int
    moved: int
    gone: int
    unsettled: int
    left_out: int
    unchanged: int
    batches_changed: tuple[str, ...]
    manifest: LedgerManifest
    problems: tuple[Problem, ...]
    ignored: Mapping[str, int]

    def __str__(self) -> str:
        kinds = ("new", "changed", "returned", "moved", "gone", "unsettled", "left_out", "unchanged")
        counts = [f"{count:,} {kind.replace('_', ' ')}" for kind in kinds if (count := getattr(self, kind))]
        return f"source {self.source}: {', '.join(counts) or 'no picture'}"


def survey(context: StageContext, source_name: str, *, sample: int | None = None) -> Survey:
    """What a discovery would do if every file had settled. Reads only; it does not judge removals.

    Raises:
        SourceError: the source cannot be listed.
        UnknownItem: there is no such source.
    """
    scan = opened_source(context.settings, source_name).scan()
    base, rows = _read(context.store.ledger(source_name))
    return Survey(scan, _plan(context, source_name, scan, rows, sample=sample), base)


def discover(
    context: StageContext,
    source_name: str,
    *,
    wait: bool,
    sample: int | None = None,
    allow_removals: bool = False,
) -> Discovery:
    """Bring a source's ledger to what is there now.

    New and changed files are taken when two looks, two seconds apart, agree on size and mtime. With `wait` the second
    look is waited for, if there are any such files; without it they are left to the next call.

    Raises:
        SourceError: the source cannot be listed; nothing is concluded.
        RemovalRefused: more would be removed than is plausible, and `allow_removals` is not set.
        CommitConflict: other writers were faster, five times in a row.
        Stopped: a stop was asked for while waiting.
        UnknownItem: there is no such source.
    """
    source = opened_source(context.settings, source_name)
    scan = source.scan()
    scanned = datetime.now(UTC)
    ledger = context.store.ledger(source_name)
    looks = Looks(context.store.cache / "looks" / f"{source_name}.parquet")
    before = looks.recall()
    for attempt in range(1, ATTEMPTS + 1):
        base, rows = _read(ledger)
        candidates = arriving(rows, scan.entries)
        ready, waited_for = _settle(context, source, scan, scanned, candidates, before, wait=wait)
        plan = _plan(context, source_name, scan, rows, settled=ready, sample=sample)
        if not allow_removals:
            refuse_implausible_removal(plan, context.settings.removals)
        try:
            manifest = ledger.commit(base, plan.batches, run_id=context.run_id)
        except CommitConflict:
            if attempt == ATTEMPTS:
                raise
            context.log(f"source {source_name}: another discovery committed first; planning again from its ledger")
            continue
        break
    looks.remember(waited_for)
    found = _discovery(plan, scan, base, manifest)
    context.log(str(found))
    return found


def _read(ledger: Ledger) -> tuple[LedgerManifest | None, pa.Table]:
    """The newest ledger, and all of its rows."""
    base = ledger.latest()
    tables = [ledger.rows(base, batch) for batch in sorted(base.batches)] if base else []
    return base, pa.concat_tables([LEDGER.empty_table(), *tables])


def _plan(
    context: StageContext,
    source_name: str,
    scan: Scan,
    rows: pa.Table,
    *,
    settled: Mask | None = None,
    sample: int | None,
) -> LedgerPlan:
    return plan_ledger(
        rows,
        scan.entries,
        source=source_name,
        batch_images=context.settings.batch_images,
        scanned_at=scan.started_at,
        settled=settled,
        sample=sample,
    )


def _settle(
    context: StageContext,
    source: Source,
    scan: Scan,
    scanned: datetime,
    candidates: Mask,
    before: pa.Table,
    *,
    wait: bool,
) -> tuple[Mask, pa.Table]:
    """Which scanned rows may be taken, and the looks at the others, to be remembered.

    The scan, which ended at `scanned`, is one look; an earlier call's look (`before`), or one two seconds later, is the
    other.
    """
    ready = ~candidates
    waiting = np.flatnonzero(candidates)
    seen = steady_since(scan.entries.select(LOOK.names).take(waiting), before, scanned)
    # The scan looked at each file at some moment between its beginning and its end.
    ready[waiting] = settled(seen, scan.started_at)
    waiting, seen = waiting[~ready[waiting]], seen.filter(~ready[waiting])
    if wait and len(waiting):
        _wait_until(context, scanned + APART)
        again = datetime.now(UTC)
        seen = steady_since(source.look(seen["location"]), seen, again)
        ready[waiting] = settled(seen, again)
        seen = seen.filter(~ready[waiting])
    return ready, seen


def _wait_until(context: StageContext, moment: datetime) -> None:
    """Wait for a moment at most two seconds away, unless a stop is asked for."""
    left = min(moment - datetime.now(UTC), APART) / timedelta(seconds=1)
    if left > 0:
        context.stop.wait(left + 0.02)  # the two clocks involved need not agree to the microsecond
    context.check_stop()


def _discovery(plan: LedgerPlan, scan: Scan, base: LedgerManifest | None, manifest: LedgerManifest) -> Discovery:
    before = base.batches if base else {}
    return Discovery(
        source=plan.source,
        found=plan.found,
        new=len(plan.new),
        changed=len(plan.changed),
        returned=len(plan.returned),
        moved=len(plan.moved),
        gone=len(plan.gone),
        unsettled=len(plan.unsettled),
        left_out=len(plan.left_out),
        unchanged=plan.unchanged,
        batches_changed=tuple(
            key for key, entry in sorted(manifest.batches.items()) if key not in before or before[key] != entry
        ),
        manifest=manifest,
        problems=scan.problems,
        ignored=scan.ignored,
    )
