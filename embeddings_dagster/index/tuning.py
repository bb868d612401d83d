"""Tuning a graph: the shortest list of candidates that keeps the recall for every kind of query."""

from collections.abc import Callable, Mapping

import numpy as np

from embeddings_dagster.index import strategy
from embeddings_dagster.index.graph_writer import Trial
from embeddings_dagster.index.recall import K, KindRecall, Point, SegmentRecall, keeps, recall_of, summary
from embeddings_dagster.index.scores import SPARE, Vector, exact_scores, true_scores
from embeddings_dagster.index.searchers import explore

# From the shortest list that a search ever asks for, which is `strategy.DEPTH * K`.
LADDER = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
BEYOND = 3  # steps that are measured after the promise is kept, so that the curve shows what is left
DIGITS = 4

Queries = Mapping[str, Vector]  # by kind, float32 (n, D)


def tuned(
    trial: Trial, queries: Queries, target: float, tick: Callable[[], None], ladder: tuple[int, ...] = LADDER
) -> SegmentRecall | None:
    """What to promise for a graph, or None where comparing every row is as cheap as any list that keeps it.

    `queries` are none of the rows in the graph. `tick` is called between steps, and may raise.
    """
    rows = len(trial.vectors)
    affordable = [ef for ef in ladder if ef <= rows and strategy.is_worth_it(ef, 0, rows, rows)]
    inside = np.ones(rows, bool)
    inside[trial.held_out] = False
    truths = {kind: true_scores(trial.vectors, inside, each, K, tick) for kind, each in queries.items() if len(each)}
    measured: dict[str, dict[int, list[float]]] = {kind: {} for kind in truths}
    needed: dict[str, int] = {}
    left = BEYOND
    for ef in affordable:
        for kind, truth in truths.items():
            found = [_recall(trial, query, ef, best, tick) for query, best in zip(queries[kind], truth, strict=True)]
            measured[kind][ef] = found
            if kind not in needed and keeps(found, target):
                needed[kind] = ef
        left -= len(needed) == len(truths)
        if not left:
            break
    if not truths or len(needed) < len(truths):
        return None
    chosen = max(needed.values())
    kinds = (_kind(kind, needed[kind], chosen, curve) for kind, curve in measured.items())
    return SegmentRecall(target, K, chosen, tuple(kinds))


def _recall(trial: Trial, query: Vector, ef: int, truth: Vector, tick: Callable[[], None]) -> float:
    """Recall of one query as a search of the finished segment goes about it."""
    tick()
    labels = trial.graph.order[explore(trial.graph.index, query, ef)[: K + SPARE]]
    scores = np.sort(exact_scores(trial.vectors, labels, query))[-K:]
    return recall_of(scores, truth[np.isfinite(truth)])


def _kind(kind: str, needed: int, chosen: int, measured: Mapping[int, list[float]]) -> KindRecall:
    points = tuple(Point(ef, *(round(each, DIGITS) for each in summary(found))) for ef, found in measured.items())
    there = next(point for point in points if point.ef == chosen)
    return KindRecall(kind, len(measured[chosen]), needed, there.mean, there.worst_decile, points)
