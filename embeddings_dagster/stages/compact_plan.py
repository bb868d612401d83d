"""Which segments of an index are to become one, decided from their sizes alone; pure, so that it can be tested to the
last case.

Segments are of tiers, each so many times as large as the one below. A full tier is merged into one segment of a tier
above, so a row is copied once a tier and not once a refresh, and an index of n rows has about log(n) segments.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from embeddings_dagster.index import SegmentEntry, SegmentRecall
from embeddings_dagster.stages.index_segments import segment_sizes

SEGMENT_ROWS = 1_000_000  # no segment that is made by a merge holds more
FAN_OUT = 4  # segments of a tier that are merged, and how much larger the segments of the next one are
SMALLEST_TIER = 1_000  # live rows up to which segments are of one tier: copying so few costs no more than opening them
DEAD_SHARE = 0.2  # dead rows above which a segment is written again
MOST_MERGED = 64  # segments in one merge: each is an open file
FAR_OVERFULL = 4 * FAN_OUT  # segments of a tier that are felt in searches, and do not wait for the schedule


@dataclass(frozen=True, slots=True)
class Merge:
    """Segments whose live rows are written again, in this order, as segments of `parts` rows (none: no row lives)."""

    segments: tuple[SegmentEntry, ...]
    parts: tuple[int, ...]

    @property
    def rows(self) -> int:
        return sum(self.parts)


def tier_of(rows: int) -> int:
    """The tier of a segment of so many live rows: 0 up to `SMALLEST_TIER`, and one more for each `FAN_OUT` times."""
    tier, limit = 0, SMALLEST_TIER
    while rows > limit:
        tier, limit = tier + 1, limit * FAN_OUT
    return tier


def next_merge(
    segments: Iterable[SegmentEntry], segment_rows: int = SEGMENT_ROWS, recall_target: float = 0.0
) -> Merge | None:
    """What is to be merged first, or None where nothing is.

    Tiers come before single segments, low ones before high ones: cheap merges, which spare searches the most. Doing
    what this says until it says None ends: each merge leaves fewer segments, fewer dead rows, or fewer that were tuned
    for less than is asked for.
    """
    segments = tuple(segments)
    for tier in full_tiers(segments, segment_rows):
        if (fitting := _fitting(tier, segment_rows)) is not None:
            return _merge([segment for segment in segments if segment.uuid in fitting], segment_rows)
    worn = max((segment for segment in segments if _is_worn(segment)), key=_dead_share, default=None)
    again = worn or next((segment for segment in segments if falls_short(segment.recall, recall_target)), None)
    return None if again is None else _merge([again], segment_rows)


def full_tiers(segments: Iterable[SegmentEntry], segment_rows: int = SEGMENT_ROWS) -> list[list[SegmentEntry]]:
    """The tiers that hold a fan-out of segments that may grow, the lowest first; in each the smallest first."""
    tiers: dict[int, list[SegmentEntry]] = defaultdict(list)
    for segment in segments:
        if segment.live < segment_rows:
            tiers[tier_of(segment.live)].append(segment)
    full = [tiers[number] for number in sorted(tiers) if len(tiers[number]) >= FAN_OUT]
    return [sorted(tier, key=lambda segment: segment.live) for tier in full]


def is_far_overfull(segments: Iterable[SegmentEntry], segment_rows: int = SEGMENT_ROWS) -> bool:
    """Whether so many segments of a tier could be merged that searches feel it."""
    tiers = full_tiers(segments, segment_rows)
    return any(len(tier) >= FAR_OVERFULL and _fitting(tier, segment_rows) is not None for tier in tiers)


def _fitting(tier: Sequence[SegmentEntry], segment_rows: int) -> set[str] | None:
    """As many of a tier, the smallest first, as one segment may hold; None where that is not two."""
    found: set[str] = set()
    rows = 0
    for segment in tier[:MOST_MERGED]:
        rows += segment.live
        if rows > segment_rows:
            break
        found.add(segment.uuid)
    return found if len(found) > 1 else None


def falls_short(recall: SegmentRecall | None, recall_target: float) -> bool:
    """Whether a segment finds less than is asked for now because it was tuned when less was."""
    return recall is not None and recall.mean < recall_target and recall.target < recall_target


def _is_worn(segment: SegmentEntry) -> bool:
    return segment.rows - segment.live > DEAD_SHARE * segment.rows


def _dead_share(segment: SegmentEntry) -> float:
    return 1 - segment.live / segment.rows


def _merge(segments: Sequence[SegmentEntry], segment_rows: int) -> Merge:
    rows = sum(segment.live for segment in segments)
    return Merge(tuple(segments), tuple(segment_sizes(rows, segment_rows)))
