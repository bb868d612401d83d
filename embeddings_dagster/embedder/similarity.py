"""How alike two vectors are."""

import numpy as np
import numpy.typing as npt


def compute_similarity(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """The cosine of two vectors (D,), from -1 to 1, whatever their lengths; 1 for a vector and itself.

    Raises:
        TypeError: one of them is None, as it is for a picture that could not be read.
        ValueError: they are not two vectors of the same D of finite numbers, or one is zero and so has no direction.
    """
    if a is None or b is None:
        raise TypeError("None has no similarity: that picture has no vector, for a reason that `on_failure` is told")
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape or not first.size:
        raise ValueError(f"arrays of shapes {first.shape} and {second.shape} are not two vectors of the same model")
    largest = np.abs(first).max(), np.abs(second).max()
    if not np.isfinite(largest).all() or not all(largest):
        raise ValueError("a vector that is zero or holds NaN or infinity has no direction, and so no similarity")
    # Divided by the largest first, so that no square is out of a float's range.
    first, second = first / largest[0], second / largest[1]
    cosine = float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))
    return min(1.0, max(-1.0, cosine))
