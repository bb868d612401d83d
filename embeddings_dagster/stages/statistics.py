"""The one statistics object, from source to sink: `total = processed + skipped + failed`, or it is not made.

Every report of a stage is one: the listing of a source, its ledger, each stage of each batch, indexes, catalogue,
compaction, analyses and exports. A stage that lost count says so by name, and whatever it was about to commit is not.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

from embeddings_dagster.errors import CountsDoNotReconcile

NAMED = 5  # items that a message names
REMEDY = "Nothing was marked complete; run again, and report this if it comes back"


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What a stage did with all that it was given, counted in `unit`; `where` is a batch, a source, a model or nothing.

    `processed` were made or taken in now; `skipped` needed nothing, or are left out on purpose; `failed` could not be,
    whether this run tried them or not. `reasons` explains each that is skipped or failed. `removed` were there before
    and are not wanted any more: they are not among the total.
    """

    stage: str
    where: str
    unit: str
    total: int
    processed: int
    skipped: int
    failed: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    removed: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Raises CountsDoNotReconcile."""
        counts = (self.total, self.processed, self.skipped, self.failed, self.removed)
        said = f"{self.processed:,} processed + {self.skipped:,} skipped + {self.failed:,} failed"
        if self.total != self.processed + self.skipped + self.failed or min(counts) < 0:
            raise lost(self.stage, self.where, f"{self.total:,} {self.unit} were given, and {said} are accounted for")
        explained = sum(self.reasons.values())
        if explained != self.skipped + self.failed or min(self.reasons.values(), default=0) < 0:
            raise lost(self.stage, self.where, f"of {said}, {explained:,} have a reason ({_told(self.reasons)})")

    @property
    def counts(self) -> dict[str, object]:
        """What every stage has, as plain values for JSON: the same keys for each."""
        found = {each.name: getattr(self, each.name) for each in fields(Statistics)}
        return {**found, "reasons": dict(self.reasons)}


def summed(stage: str, where: str, parts: Sequence[Statistics]) -> Statistics:
    """One stage over several batches, sources or models; at least one."""
    reasons: dict[str, int] = {}
    for part in parts:
        for reason, count in part.reasons.items():
            reasons[reason] = reasons.get(reason, 0) + count
    return Statistics(
        stage=stage,
        where=where,
        unit=parts[0].unit,
        total=sum(part.total for part in parts),
        processed=sum(part.processed for part in parts),
        skipped=sum(part.skipped for part in parts),
        failed=sum(part.failed for part in parts),
        reasons=reasons,
        removed=sum(part.removed for part in parts),
        seconds=round(sum(part.seconds for part in parts), 3),
    )


def without_zeros(**reasons: int) -> dict[str, int]:
    """Reasons that there are, their names as people read them."""
    return {name.replace("_", " "): count for name, count in reasons.items() if count}


def lost(stage: str, where: str, difference: str, items: Iterable[object] = ()) -> CountsDoNotReconcile:
    """What a stage raises that lost count: which, of what, by how much, up to five items concerned, and what to do."""
    what = f"{stage} of {where}" if where else stage
    names = list(map(str, items))
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    named = f" ({', '.join(names[:NAMED])}{more})" if names else ""
    return CountsDoNotReconcile(f"{what} lost count: {difference}{named}. {REMEDY}")


def require_handed_over(stage: str, where: str, unit: str, given: int, taken: int) -> None:
    """What one stage gave is what the next one takes.

    Raises:
        CountsDoNotReconcile: it is not.
    """
    if given != taken:
        raise lost(stage, where, f"{given:,} {unit} were given by the stage before, and {taken:,} are taken")


def _told(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in reasons.items()) or "none"
