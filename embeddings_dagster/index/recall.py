"""Recall as a segment's manifest records it: what was promised, on which queries it was measured, and the curve.

Recall@k of a query is the share of its `k` best rows that a search found. A row that scores as much as the last of
those is as good as that one, so duplicates cost nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

K = 10  # what a promise of recall is about
TIE = 1e-6  # scores that differ by less are equal: float32's sums of 512 products differ by up to 3e-7
ONE_SIDED_95, ONE_SIDED_99 = 1.645, 2.326  # standard errors from the mean

Values = npt.NDArray[np.floating]


class Point(NamedTuple):
    """Recall with lists of `ef` candidates: its mean, and the mean of the worst tenth of the queries."""

    ef: int
    mean: float
    worst_decile: float


@dataclass(frozen=True, slots=True)
class KindRecall:
    """One kind of query: `ef` is the smallest that keeps the promise for it, `mean` and `worst_decile` are those of the
    segment's own, larger or equal."""

    kind: str
    queries: int
    ef: int
    mean: float
    worst_decile: float
    curve: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class SegmentRecall:
    """What was tuned when a segment was built. A segment is searched with the largest `ef` of all kinds of query."""

    target: float
    k: int
    ef: int
    kinds: tuple[KindRecall, ...]

    @property
    def mean(self) -> float:
        """Of the kind of query that fares worst."""
        return min(kind.mean for kind in self.kinds)

    @property
    def worst_decile(self) -> float:
        return min(kind.worst_decile for kind in self.kinds)

    def to_document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"kinds": [_kind_document(kind) for kind in self.kinds]}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "SegmentRecall":
        """What `to_document` gave."""
        kinds = tuple(
            KindRecall(**{**kind, "curve": tuple(Point(*point) for point in kind["curve"])})
            for kind in document["kinds"]
        )
        return cls(document["target"], document["k"], document["ef"], kinds)


def _kind_document(kind: KindRecall) -> dict[str, Any]:
    return asdict(kind) | {"curve": [list(point) for point in kind.curve]}


def recall_of(found: Values, truth: Values) -> float:
    """Recall of one query, by the scores of what was found and of what there is: `truth` has the best `k`, or fewer
    where there are fewer, in any order; 1 where there are none."""
    if not len(truth):
        return 1.0
    return min(1.0, float(np.count_nonzero(found >= truth.min() - TIE)) / len(truth))


def summary(recalls: Sequence[float]) -> tuple[float, float]:
    """The mean over all queries, and over the worst tenth of them."""
    ordered = np.sort(np.asarray(recalls, np.float64))
    return float(ordered.mean()), float(ordered[: max(1, len(ordered) // 10)].mean())


def standard_error(recalls: Sequence[float]) -> float:
    """Of the mean of a sample."""
    values = np.asarray(recalls, np.float64)
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0


def keeps(recalls: Sequence[float], target: float) -> bool:
    """Whether recalls of a sample show that the mean of all queries meets the target: the lower end of the 95 %
    confidence interval does. So few queries have to do better than many, and noise alone rarely passes."""
    return bool(np.mean(recalls) - ONE_SIDED_95 * standard_error(recalls) >= target)
