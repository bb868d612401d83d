"""Discovery: the one writer of ledgers. Scan a source, let files settle, plan, guard, commit.

A ledger after it is the ledger before it or the whole plan. A commit that loses the race is planned again from the
winner's ledger, on the same scan. No picture is read: names, sizes, times and records are all there is to it, and of
the ledger only those batches that the scan says something of.
"""

from datetime import UTC, datetime

from embeddings_dagster.errors import CommitConflict
from embeddings_dagster.stages.context import StageContext
from embeddings_dagster.stages.discovery import Discovery, Survey, require_reconciled
from embeddings_dagster.stages.ledger_plan import LedgerPlan, refuse_implausible_removal
from embeddings_dagster.stages.looks import SEEN, remembered_looks
from embeddings_dagster.stages.marks import Marks
from embeddings_dagster.stages.opened import opened_source
from embeddings_dagster.stages.scanned import Judged, Scanned, take_scan
from embeddings_dagster.store import LedgerManifest

__all__ = ["Discovery", "Survey", "discover", "survey"]

ATTEMPTS = 5  # a race is lost to a writer who has committed; five in a row are no race any more
SCANS = 3  # who goes on rewriting a file of records after that is left to the next call


def survey(context: StageContext, source_name: str, *, sample: int | None = None) -> Survey:
    """What a discovery would do if every file had settled. Reads only; it does not judge removals.

    Raises:
        SourceError: the source cannot be listed.
        UnknownItem: there is no such source.
    """
    scanned = take_scan(context, opened_source(context.settings, source_name), None, SEEN.empty_table())
    base = context.store.ledger(source_name).latest()
    return Survey(scanned.scan, scanned.plan(scanned.trust(base), sample=sample), base)


def discover(
    context: StageContext,
    source_name: str,
    *,
    wait: bool | None,
    sample: int | None = None,
    allow_removals: bool = False,
    full: bool = True,
) -> Discovery:
    """Bring a source's ledger to what is there now.

    New and changed pictures are taken when two looks, two seconds apart, agree on size and mtime, of the picture and of
    the file that its record is in. With `wait` the second look is waited for, if there are any such files, and a file
    of records that was written meanwhile is read again; without it they are left to the next call. None waits where the
    source has batches of its own, so that a whole one that appears is taken at once. Unless `full`, batches that look
    as they are remembered may be left alone.

    Raises:
        SourceError: the source cannot be listed; nothing is concluded.
        RemovalRefused: more would be removed than is plausible, and `allow_removals` is not set.
        CommitConflict: other writers were faster, five times in a row.
        CountsDoNotReconcile: something that the source has is not accounted for; nothing was committed.
        Stopped: a stop was asked for while waiting.
        UnknownItem: there is no such source.
    """
    source = opened_source(context.settings, source_name)
    wait = source.own_batches if wait is None else wait
    base = context.store.ledger(source_name).latest()
    looks, marks = remembered_looks(context.store.cache, source_name), Marks(context.store.cache, source_name)
    known = None if full else marks.recall(base, datetime.now(UTC))
    scanned = take_scan(context, source, known, looks.recall())
    judged = scanned.judge(base, wait=wait)
    for _ in range(SCANS - 1):
        if not judged.settled.rewritten:
            break
        context.log(f"source {source_name}: records were written while they were read; reading them again")
        scanned = take_scan(context, source, known, judged.settled.seen)
        judged = scanned.judge(base, wait=wait)
    judged, plan, manifest = _commit(context, scanned, judged, wait=wait, sample=sample, allow_removals=allow_removals)
    looks.remember(judged.settled.waits)
    if sample is None:
        marks.remember(scanned.scan, manifest, scanned.waiting(judged))
    found = Discovery.of(plan, scanned.scan, judged.base, manifest)
    context.log(str(found))
    return found


def _commit(
    context: StageContext, scanned: Scanned, judged: Judged, *, wait: bool, sample: int | None, allow_removals: bool
) -> tuple[Judged, LedgerPlan, LedgerManifest]:
    """Plan and commit; where another discovery was faster, again from its ledger."""
    ledger = context.store.ledger(scanned.source.name)
    for attempt in range(1, ATTEMPTS + 1):
        plan = scanned.plan(judged, sample=sample)
        if not allow_removals:
            refuse_implausible_removal(plan, context.settings.removals)
        dated = scanned.dated(judged)
        changed = {**dated, **plan.batches} if dated else plan.batches
        require_reconciled(plan, scanned.scan, judged.base)
        try:
            manifest = ledger.commit(judged.base, changed, run_id=context.run_id, scraped_at=scanned.scan.scraped_at)
        except CommitConflict:
            if attempt == ATTEMPTS:
                raise
            context.log(f"source {plan.source}: another discovery committed first; planning again from its ledger")
            judged = scanned.judge(ledger.latest(), wait=wait)
        else:
            return judged, plan, manifest
    raise AssertionError("unreachable")
