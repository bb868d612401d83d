"""What a look at a source came to."""

from collections.abc import Mapping
from dataclasses import dataclass

from embeddings_dagster.sources import Problem, Scan
from embeddings_dagster.stages.ledger_plan import LedgerPlan
from embeddings_dagster.store import LedgerManifest

KINDS = ("new", "changed", "returned", "moved", "gone", "unsettled", "left_out", "unchanged", "left_alone")


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
    the source did not read again because they look as before. `batches_changed` are the batches whose rows differ from
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

    @classmethod
    def of(cls, plan: LedgerPlan, scan: Scan, base: LedgerManifest | None, manifest: LedgerManifest) -> "Discovery":
        """What a plan did that led from one ledger to another."""
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
        )

    @property
    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        return {"found": self.found, **{kind: getattr(self, kind) for kind in KINDS}}

    def __str__(self) -> str:
        counts = [f"{count:,} {kind.replace('_', ' ')}" for kind in KINDS if (count := getattr(self, kind))]
        return f"source {self.source}: {', '.join(counts) or 'no picture'}"
