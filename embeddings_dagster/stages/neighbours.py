"""Who is closest to whom, exactly, and how much two answers to that have in common."""

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.intp]

BLOCK = 32  # queries compared with everything at one time


def nearest(vectors: Vectors, queries: Numbers, k: int) -> Numbers:
    """The `k` others closest to each query, (queries, k): row numbers of `vectors` (n, D), the closest first.

    Closest is what a search finds first: the largest inner product. Of equals the first row comes first, so that rows
    that are the same in two spaces are the same neighbours in both. `n` must be larger than `k`.
    """
    found = np.empty((len(queries), k), np.intp)
    for start in range(0, len(queries), BLOCK):
        some = queries[start : start + BLOCK]
        scores = vectors[some] @ vectors.T
        scores[np.arange(len(some)), some] = -np.inf  # nobody is a neighbour of itself
        found[start : start + BLOCK] = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return found


def in_common(one: Numbers, other: Numbers) -> npt.NDArray[np.float64]:
    """|A ∩ B| / k of each query's neighbours in two spaces, (queries,), both given as `nearest` gives them."""
    shared: npt.NDArray[np.float64] = (one[:, :, None] == other[:, None, :]).any(axis=2).mean(axis=1)
    return shared
