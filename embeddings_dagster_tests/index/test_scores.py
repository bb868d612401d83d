"""Scores depend on row and query alone, and the best are all that are as good as the last."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.index.scores import best, best_of_all, exact_scores, true_scores

RANDOM = np.random.default_rng(3)


def test_equal_vectors_have_equal_scores_to_the_bit_wherever_they_lie() -> None:
    vectors = RANDOM.standard_normal((1_000, 77)).astype(np.float32)
    vectors[[0, 13, 255, 256, 999]] = vectors[500]
    query = RANDOM.standard_normal(77).astype(np.float32)
    scores = exact_scores(vectors, np.arange(1_000), query)
    assert len({float(scores[label]) for label in (0, 13, 255, 256, 500, 999)}) == 1
    assert exact_scores(vectors, np.array([500]), query)[0] == scores[500]


def test_a_unit_vector_scores_one_with_itself() -> None:
    vectors = RANDOM.standard_normal((50, 512))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    own = [exact_scores(vectors, np.array([label]), vectors[label])[0] for label in range(50)]
    assert np.abs(np.array(own) - 1).max() < 1e-6


def test_the_best_are_all_that_score_as_much_as_the_last() -> None:
    labels, scores = best(np.arange(6), np.array([1, 3, 2, 2, 0, 2], np.float32), 2)
    assert (labels.tolist(), scores.tolist()) == ([1, 2, 3, 5], [3, 2, 2, 2])


@given(st.lists(st.integers(0, 5), min_size=1, max_size=200), st.integers(1, 50))
def test_candidates_in_any_order_of_equals_give_every_equal_one(values: list[int], k: int) -> None:
    vectors = np.array(values, np.float32)[:, np.newaxis]
    query, k = np.ones(1, np.float32), min(k, len(values))

    def candidates(count: int) -> np.ndarray:
        return np.argsort(-vectors[:, 0], kind="stable")[:count]

    labels, scores = best_of_all(candidates, len(values), vectors, query, k)
    least = sorted(values, reverse=True)[k - 1]
    assert sorted(labels.tolist()) == [label for label, value in enumerate(values) if value >= least]
    assert scores.tolist() == sorted((float(value) for value in values if value >= least), reverse=True)


def test_truth_is_over_allowed_rows_alone_and_padded_where_there_are_few() -> None:
    vectors = np.eye(4, dtype=np.float32)
    queries = np.array([[4, 3, 2, 1], [0, 0, 0, 9]], np.float32)
    allowed = np.array([False, True, True, False])
    found = np.sort(true_scores(vectors, allowed, queries, 3, lambda: None))
    assert found.tolist() == [[-np.inf, 2, 3], [-np.inf, 0, 0]]
