"""Exact scores: the same for the same row and query, whichever way the row was found and whatever lies beside it."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


class Vectors(Protocol):
    """Vectors, float32 (n, D), read when asked for: an array, a memory map, or some rows of one."""

    @property
    def shape(self) -> tuple[Any, ...]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, places: Labels | slice, /) -> Vector: ...


SPARE = 8  # candidates beyond those asked for: float16 may have put a row some places too low
AT_ONCE = 256  # rows in float64 at one time: 1 MB at 512 dimensions
TRUTH_ROWS = 8_192  # rows compared with all queries at one time
WIDER = 8


class Rounding(NamedTuple):
    """How far scores of unit vectors may be from the exact ones, and how many candidates more that asks for at first:
    a second scan costs more than a look at some rows."""

    spare: int
    error: float


FLOAT32 = Rounding(SPARE, 1e-6)
FLOAT16 = Rounding(64, 4e-5)  # six times what is usual at 512 dimensions; the usual falls with their root


def exact_scores(vectors: Vectors, labels: Labels, query: Vector) -> Vector:
    """The inner products of some rows of `vectors` (n, D) with a query (D,): summed in float64, rounded to float32.

    So equal vectors have equal scores to the bit, which no sum in float32 promises that takes several rows at a time.
    One core: for so little, waking another costs more.
    """
    wide = query.astype(np.float64)
    scores = np.empty(len(labels), np.float32)
    for start in range(0, len(labels), AT_ONCE):
        some = vectors[labels[start : start + AT_ONCE]].astype(np.float64)
        scores[start : start + AT_ONCE] = np.einsum("ij,j->i", some, wide)
    return scores


def best(labels: Labels, scores: Vector, k: int) -> tuple[Labels, Vector]:
    """The `k` best and all that score as much as the last of them, best first."""
    if k < len(scores):
        kept = scores >= np.partition(scores, -k)[-k]
        labels, scores = labels[kept], scores[kept]
    order = np.argsort(-scores, kind="stable")
    return labels[order], scores[order]


def best_of_all(
    candidates: Callable[[int], Labels],
    possible: int,
    vectors: Vectors,
    query: Vector,
    k: int,
    rounding: Rounding = FLOAT32,
) -> tuple[Labels, Vector]:
    """The `k` best of `possible` rows and all that score as much as the last of them, best first.

    `candidates(n)` gives the `n` best ones but for `rounding` (default: float32's). It is asked for more as long as one
    beyond them may be as good.
    """
    spare, error = rounding.spare, rounding.error * float(np.linalg.norm(query.astype(np.float64)))
    count = k + spare
    while True:
        labels = candidates(min(count, possible))
        found, scores = best(labels, exact_scores(vectors, labels, query), len(labels))
        if count >= possible or scores[-1] < scores[k - 1] - error:
            return best(found, scores, k)
        count *= WIDER


def true_scores(
    vectors: Vectors, allowed: npt.NDArray[np.bool_], queries: Vector, k: int, tick: Callable[[], None]
) -> Vector:
    """The scores of the `k` best allowed rows for each query, (queries, k) in no order; -inf where there are fewer.

    Compares everything, in blocks, on all cores; `tick` is called between them.
    """
    found = np.full((len(queries), k), -np.inf, np.float32)
    for start in range(0, len(vectors), TRUTH_ROWS):
        tick()
        mask = allowed[start : start + TRUTH_ROWS]
        if mask.any():
            block = vectors[start : start + TRUTH_ROWS]
            scores = queries @ (block if mask.all() else block[mask]).T
            found = np.partition(np.hstack([found, scores]), -k, axis=1)[:, -k:]
    return found
