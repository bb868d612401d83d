"""What a look at a source came to."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from embeddings_dagster.sources import Problem, Scan
from embeddings_dagster.stages.ledger_columns import live_rows
from embeddings_dagster.stages.ledger_compare import KEY
from embeddings_dagster.stages.ledger_plan import LedgerPlan
from embeddings_dagster.stages.statistics import Statistics, lost, require_handed_over, without_zeros
from embeddings_dagster.store import LedgerManifest

KINDS = ("new", "changed", "returned", "moved", "gone", "unsettled", "left_out", "unchanged", "left_alone")
LISTING, LEDGER = "listing", "ledger"


@dataclass(frozen=True)
class Survey:
    """What a scan found and what it would change; nothing is committed. `base` is the ledger it was compared with."""

    scan: Scan
    plan: LedgerPlan
    base: LedgerManifest | None


@dataclass(frozen=True)
class Discovery:
    """What one discovery did. Counts are of images, an image in several batches counting in each; `moved` ones are
    neither new nor gone.

    `unsettled` were seen but left for the next look, `left_out` lie outside of the sample, `left_alone` in batches that
    the source did not read again because they look as before. `listing`: what the source came by, and took; None where
    it read nothing. `batches_changed` are the batches whose rows differ from
    before. `problems` and `ignored`: what the source passed over, and why.
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
    left_alone: int
    unchanged: int
    batches_changed: tuple[str, ...]
    manifest: LedgerManifest
    problems: tuple[Problem, ...]
    ignored: Mapping[str, int]
    listing: Statistics | None
    statistics: Statistics

    @classmethod
    def of(cls, plan: LedgerPlan, scan: Scan, base: LedgerManifest | None, manifest: LedgerManifest) -> "Discovery":
        """What a plan did that led from one ledger to another.

        Raises:
            CountsDoNotReconcile: what was listed and what was planned do not add up.
        """
        before = base.batches if base else {}
        return cls(
            source=plan.source,
            found=plan.found,
            new=len(plan.new),
            changed=len(plan.changed),
            returned=len(plan.returned),
            moved=len(plan.moved),
            gone=len(plan.gone),
            unsettled=len(plan.unsettled),
            left_out=len(plan.left_out),
            left_alone=plan.left_alone,
            unchanged=plan.unchanged,
            batches_changed=tuple(
                key for key, entry in sorted(manifest.batches.items()) if key not in before or before[key] != entry
            ),
            manifest=manifest,
            problems=scan.problems,
            ignored=scan.ignored,
            listing=listing_of(plan.source, scan),
            statistics=statistics_of(plan),
        )

    @property
    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        return {"found": self.found, **{kind: getattr(self, kind) for kind in KINDS}}

    def __str__(self) -> str:
        counts = [f"{count:,} {kind.replace('_', ' ')}" for kind in KINDS if (count := getattr(self, kind))]
        return f"source {self.source}: {', '.join(counts) or 'no picture'}"


def listing_of(source: str, scan: Scan) -> Statistics | None:
    """What a source came by: each was taken as an item, or passed over for a reason.

    Raises:
        CountsDoNotReconcile: it was neither; or a picture is listed twice.
    """
    keys = [scan.entries[name] for name in KEY]
    _require_once(source, keys)
    if scan.listed is None:
        return None
    return Statistics(
        stage=LISTING,
        where=source,
        unit=scan.listed.unit,
        total=scan.listed.seen,
        processed=len(keys[0]) - int(pc.sum(_as_before(keys[:2])).as_py() or 0),
        skipped=sum(scan.listed.ignored.values()),
        failed=scan.listed.refused,
        reasons={**scan.listed.ignored, **without_zeros(refused=scan.listed.refused)},
    )


def _require_once(source: str, keys: list[pa.ChunkedArray]) -> None:
    again = _as_before(keys)
    if pc.any(again).as_py():
        names = keys[1][1:].filter(again).to_pylist()
        raise lost(LISTING, source, f"{len(names):,} pictures are listed more than once", names)


def _as_before(columns: list[pa.ChunkedArray]) -> pa.ChunkedArray:
    """For each row of sorted columns but the first, whether it says the same as the row before."""
    same = (pc.fill_null(pc.equal(each[1:], each[:-1]), each.null_count > 0) for each in columns)
    return reduce(pc.and_, same)


def statistics_of(plan: LedgerPlan) -> Statistics:
    """What became of each picture of a scan, and of those of which it says nothing.

    Raises:
        CountsDoNotReconcile: something became of none.
    """
    taken = sum(map(len, (plan.new, plan.changed, plan.returned, plan.moved)))
    waiting, left_out = len(plan.unsettled), len(plan.left_out)
    return Statistics(
        stage=LEDGER,
        where=plan.source,
        unit="images",
        total=plan.found + plan.left_alone,
        processed=taken,
        skipped=plan.unchanged + plan.left_alone + waiting + left_out,
        failed=0,
        reasons=without_zeros(
            current=plan.unchanged, not_read_again=plan.left_alone, not_settled=waiting, outside_of_the_sample=left_out
        ),
        removed=len(plan.gone),
    )


def require_reconciled(plan: LedgerPlan, scan: Scan, base: LedgerManifest | None) -> None:
    """Before a plan is committed: all that was listed is in it, and the batches gain and lose what it says.

    Raises:
        CountsDoNotReconcile: nothing may be committed.
    """
    listing_of(plan.source, scan)
    statistics_of(plan)
    before = base.batches if base else {}
    grown = 0
    for key, rows in plan.batches.items():
        grown += int(live_rows(rows).sum()) - (before[key].live if key in before else 0)
    said = len(plan.new) + len(plan.returned) - len(plan.gone)
    require_handed_over(LEDGER, plan.source, "images more than before", said, grown)
