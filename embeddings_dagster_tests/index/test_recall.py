"""What recall is, when it keeps a promise, and how a manifest records it."""

import json

import numpy as np
import pytest

from embeddings_dagster.index.recall import KindRecall, Point, SegmentRecall, keeps, recall_of, summary

RECALL = SegmentRecall(
    0.95, 10, 64,
    (
        KindRecall("rows", 256, 32, 0.99, 0.93, (Point(32, 0.97, 0.8), Point(64, 0.99, 0.93))),
        KindRecall("texts", 128, 64, 0.96, 0.7, (Point(32, 0.91, 0.5), Point(64, 0.96, 0.7))),
    ),
)  # fmt: skip


def scores(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_recall_is_the_share_of_the_best_that_was_found() -> None:
    assert recall_of(scores(0.9, 0.8, 0.5), scores(0.9, 0.8, 0.7)) == pytest.approx(2 / 3)
    assert recall_of(scores(0.9, 0.8, 0.7), scores(0.7, 0.9, 0.8)) == 1
    assert recall_of(scores(), scores(0.7)) == 0
    assert recall_of(scores(), scores()) == 1


def test_a_row_that_scores_as_much_as_the_last_is_as_good() -> None:
    assert recall_of(scores(1, 0.5, 0.5, 0.5), scores(1, 0.5, 0.5)) == 1
    assert recall_of(scores(1, 0.49999995, 0.5), scores(1, 0.5, 0.5)) == 1


def test_the_worst_tenth_is_a_mean_of_its_own() -> None:
    mean, worst = summary([1.0] * 18 + [0.5, 0.3])
    assert (mean, worst) == (pytest.approx(0.94), pytest.approx(0.4))
    assert summary([0.7]) == (0.7, 0.7)


def test_few_queries_have_to_do_better_than_many() -> None:
    sample = [1.0, 1.0, 1.0, 0.9]
    assert keeps(sample * 64, 0.95)
    assert not keeps(sample, 0.95)
    assert keeps([1.0], 1.0)
    assert not keeps([0.94] * 1000, 0.95)


def test_a_segment_is_as_good_as_the_kind_that_fares_worst() -> None:
    assert (RECALL.mean, RECALL.worst_decile) == (0.96, 0.7)


def test_comes_back_from_json_as_it_was() -> None:
    assert SegmentRecall.from_document(json.loads(json.dumps(RECALL.to_document()))) == RECALL
