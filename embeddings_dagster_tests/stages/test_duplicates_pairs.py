"""Multi-index hashing finds exactly the pairs that comparing everything with everything finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings_dagster.stages import duplicates_pairs
from embeddings_dagster.stages.duplicates_pairs import distances, near_pairs

Pairs = list[tuple[int, int]]


def found(hashes: np.ndarray, most: int) -> Pairs:
    return [pair for one, other in near_pairs(hashes, most) for pair in zip(one.tolist(), other.tolist(), strict=True)]


def brute_force(hashes: np.ndarray, most: int) -> Pairs:
    return [
        (i, j)
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= most
    ]


@st.composite
def crowded_hashes(draw: st.DrawFn) -> np.ndarray:
    """A few hashes, and others a few flips away from them: evenly spread ones would never be close."""
    bases = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4))
    near = draw(st.lists(st.tuples(st.sampled_from(bases), st.sets(st.integers(0, 63), max_size=9)), max_size=40))
    hashes = {*bases, *(base ^ sum(1 << bit for bit in bits) for base, bits in near)}
    return np.array(draw(st.permutations(sorted(hashes))), np.uint64)


@given(crowded_hashes(), st.integers(0, 7))
@settings(max_examples=150, deadline=None)
def test_all_close_pairs_are_found_once_and_no_other(hashes: np.ndarray, most: int) -> None:
    pairs = found(hashes, most)
    assert len(set(pairs)) == len(pairs)
    assert sorted(pairs) == brute_force(hashes, most)


def test_blocks_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    hashes = np.unique(rng.integers(0, 2**12, 400, dtype=np.uint64))
    expected = brute_force(hashes, 3)
    assert len(expected) > 1000
    for size in (1, 7, 1000):
        monkeypatch.setattr(duplicates_pairs, "CANDIDATES", size)
        assert sorted(found(hashes, 3)) == expected


def test_seven_flips_spread_over_all_bands_are_found_and_eight_refused() -> None:
    flips = sum(1 << bit for bit in (0, 1, 16, 17, 32, 33, 48))
    hashes = np.array([0, flips], np.uint64)
    assert found(hashes, 7) == [(0, 1)]
    assert found(hashes, 6) == []
    assert distances(hashes[:1], hashes[1:]).tolist() == [7]
    with pytest.raises(ValueError, match="0 to 7"):
        found(hashes, 8)


def test_nothing_and_one_hash_have_no_pairs() -> None:
    assert found(np.zeros(0, np.uint64), 7) == []
    assert found(np.array([5], np.uint64), 7) == []
