"""Exact neighbours: those of a plain sort, the same in spaces that are the same up to a rotation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings_dagster.stages.neighbours import in_common, nearest

seeds = st.integers(0, 2**32 - 1)


def cloud(seed: int, n: int = 80, dimension: int = 8) -> np.ndarray:
    """`n` vectors of norm 1."""
    points = np.random.default_rng(seed).standard_normal((n, dimension))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def overlap(one: np.ndarray, other: np.ndarray, k: int = 10) -> float:
    queries = np.arange(len(one))
    return float(in_common(nearest(one, queries, k), nearest(other, queries, k)).mean())


@given(seeds, st.integers(11, 90), st.integers(1, 10))
@settings(max_examples=25, deadline=None)
def test_they_are_those_of_a_plain_sort(seed: int, n: int, k: int) -> None:
    points = cloud(seed, n)
    for query, found in enumerate(nearest(points, np.arange(n), k)):
        scores = {row: float(points[query] @ points[row]) for row in range(n) if row != query}
        best = sorted(scores.values(), reverse=True)[:k]
        assert len(set(found)) == k
        assert [scores[row] for row in found] == pytest.approx(best, abs=1e-6)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_a_space_overlaps_fully_with_itself(seed: int) -> None:
    assert overlap(cloud(seed), cloud(seed)) == 1.0


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_a_rotated_space_has_the_same_neighbours(seed: int) -> None:
    """But for two that are equally close to the last digit."""
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((8, 8)))[0]
    assert overlap(cloud(seed), (cloud(seed).astype(np.float64) @ rotation).astype(np.float32)) > 0.99


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_spaces_that_have_nothing_to_do_with_each_other_overlap_by_chance(seed: int) -> None:
    n = 200
    assert overlap(cloud(seed, n), cloud(seed + 1, n)) == pytest.approx(10 / (n - 1), abs=0.03)


def test_equal_rows_are_the_same_neighbours_in_both_spaces() -> None:
    one, other = (np.repeat(cloud(seed, 1), 40, axis=0) for seed in (1, 2))
    assert overlap(one, other) == 1.0
    assert nearest(one, np.array([3]), 4).tolist() == [[0, 1, 2, 4]]


def test_spaces_may_have_different_dimensions() -> None:
    points = cloud(5)
    wider = np.hstack([points, np.zeros((len(points), 4), np.float32)])
    assert overlap(points, wider) > 0.99


def test_no_one_shared_is_zero() -> None:
    assert in_common(np.array([[1, 2]]), np.array([[3, 4]])).tolist() == [0.0]
    assert in_common(np.array([[1, 2]]), np.array([[2, 3]])).tolist() == [0.5]
