import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embeddings_dagster.embedder import compute_similarity

numbers = st.floats(-(2.0**100), 2.0**100, width=32)
vectors = arrays(np.float32, 5, elements=numbers).filter(lambda vector: bool(vector.any()))


@given(vectors, vectors)
def test_it_is_a_cosine(a: np.ndarray, b: np.ndarray) -> None:
    assert compute_similarity(a, a) == pytest.approx(1, abs=1e-6)
    assert compute_similarity(a, -a) == pytest.approx(-1, abs=1e-6)
    assert -1 <= compute_similarity(a, b) <= 1
    assert compute_similarity(a, b) == compute_similarity(b, a)
    assert type(compute_similarity(a, b)) is float


def test_known_angles() -> None:
    assert compute_similarity([1, 0], [0, 5]) == 0
    assert compute_similarity([3, 4], [4, 3]) == pytest.approx(0.96)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1, 2], [1, 2, 3], "not two vectors of the same model"),
        ([[1, 2]], [[1, 2]], "not two vectors"),
        ([], [], "not two vectors"),
        ([0, 0], [1, 0], "has no direction"),
        ([np.nan, 0], [1, 0], "has no direction"),
        ([1, 0], [np.inf, 0], "has no direction"),
    ],
)
def test_what_has_no_similarity(a: list[float], b: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compute_similarity(a, b)


def test_a_picture_without_a_vector_has_none() -> None:
    with pytest.raises(TypeError, match="None has no similarity"):
        compute_similarity([1.0], None)
