"""Pairs become groups: all three conditions must hold, chains are followed, crowds stay affordable."""

import numpy as np
import pytest

from embeddings_dagster.errors import Stopped
from embeddings_dagster.stages.duplicates_clusters import CROWD, LEADERS, Joined, Rule, joined

RULE = Rule(bits=7, cosine=0.9)


def unit(*angles: float) -> np.ndarray:
    """Vectors at these angles, in degrees."""
    radians = np.radians(angles)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def groups(hashes: list[int], vectors: np.ndarray, colours: list[int] | None = None, **options: object) -> list[int]:
    count = len(hashes)
    found = joined(
        np.array(hashes, np.uint64), np.array(colours or [0] * count, np.int64), np.ones(count, bool), RULE,
        lambda numbers: vectors[numbers], **options,  # type: ignore[arg-type]
    )  # fmt: skip
    return found.roots().tolist()


def test_hash_and_vector_and_colour_must_all_be_close() -> None:
    far_hash = 0xFF
    assert groups([0, 0b111], unit(0, 5)) == [0, 0]
    assert groups([0, far_hash], unit(0, 5)) == [0, 1], "8 bits"
    assert groups([0, 0b111], unit(0, 30)) == [0, 1], "cosine .87"
    assert groups([0, 0], unit(0, 5), [0xFF0000, 0x0000FF]) == [0, 1]
    assert groups([0, 0], unit(0, 5), [0x808080, 0xA08080]) == [0, 0], "a brighter one"


def test_chains_are_followed() -> None:
    assert groups([0, 0x7F, 0x3FFF], unit(0, 20, 40)) == [0, 0, 0]


def test_what_has_no_hash_stays_alone() -> None:
    hashed = np.array([True, False, True])
    found = joined(np.zeros(3, np.uint64), np.zeros(3, np.int64), hashed, RULE, lambda numbers: unit(0, 0, 0)[numbers])
    assert found.roots().tolist() == [0, 1, 0]


def test_nothing_at_all_gives_no_groups() -> None:
    assert groups([], np.zeros((0, 2), np.float32)) == []


def test_a_crowd_of_one_hash_is_grouped_by_vector_at_bounded_cost() -> None:
    count = 20_000
    angles = np.arange(count) % 6 * 60.0 + np.arange(count) % 100 / 100
    vectors = unit(*angles)
    found = joined(
        np.zeros(count, np.uint64), np.zeros(count, np.int64), np.ones(count, bool), RULE, lambda n: vectors[n]
    )
    assert len(np.unique(found.roots())) == 6
    assert found.crowded == 0
    assert found.compared <= 20 * count, "and not 200,000,000"


def test_a_crowd_without_anything_alike_is_given_up_after_its_leaders() -> None:
    count = 2_000
    vectors = np.eye(count, dtype=np.float32)
    found = joined(
        np.zeros(count, np.uint64), np.zeros(count, np.int64), np.ones(count, bool), RULE, lambda n: vectors[n]
    )
    assert len(np.unique(found.roots())) == count
    assert found.crowded == count - LEADERS
    assert found.compared <= LEADERS * count


def test_a_crowd_is_joined_with_a_close_hash_through_its_leaders() -> None:
    count = CROWD + 10
    assert set(groups([0] * count + [1], unit(*[0] * count, 3))) == {0}


def test_a_stop_is_obeyed() -> None:
    def stop() -> None:
        raise Stopped("now")

    with pytest.raises(Stopped):
        groups([0, 1], unit(0, 0), check_stop=stop)


def test_joining_in_any_order_gives_the_least_number_of_each_group() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        pairs = rng.integers(0, 30, (25, 2))
        found = Joined.apart(30)
        found.join(pairs[:, 0], pairs[:, 1])
        expected = list(range(30))
        for _ in range(30):
            for a, b in pairs.tolist():
                expected[a] = expected[b] = min(expected[a], expected[b])
        assert found.roots().tolist() == expected
