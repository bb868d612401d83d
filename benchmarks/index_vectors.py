"""Vectors that lie as those of pictures do: in clusters of unequal size, within a narrow cone, and of far fewer
directions than dimensions; and queries that lie elsewhere, as those of texts do.

The figures behind the constants: CLIP's pictures have a mean of norm about .7 and about thirty effective directions
around it, and texts are apart from pictures by more than pictures from each other (arXiv:2203.02053).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

CONE = 0.7  # of a vector's length, what it has in common with all
SPREAD = 0.45  # of the rest, how much lies within a cluster
GAP = 0.6  # of a text's length, what it has in common with all texts and with no picture
BLOCK = 20_000  # rows made at a time


@dataclass(frozen=True)
class Clusters:
    """A population to draw pictures and texts from; the same `seed` is the same population."""

    centres: Vectors
    common: Vectors
    gap: Vectors
    basis: Vectors
    spread: Vectors

    @classmethod
    def make(cls, dimension: int = 512, clusters: int = 1_000, seed: int = 0) -> "Clusters":
        random = np.random.default_rng(seed)
        directions = min(dimension, 128)
        basis = _unit(random.standard_normal((directions, dimension)))
        spread = np.arange(1, directions + 1, dtype=np.float32) ** -0.5
        centres = _unit((random.standard_normal((clusters, directions)) * spread) @ basis)
        common, gap = _unit(random.standard_normal((2, dimension)))
        return cls(centres, common, gap, basis, spread)

    def pictures(self, count: int, seed: int = 1) -> tuple[Vectors, Numbers]:
        """Unit vectors (count, D), and the cluster of each; the n-th cluster has a share of about 1 / sqrt(n)."""
        found = np.empty((count, self.centres.shape[1]), np.float32)
        members = np.empty(count, np.int64)
        for start, vectors, numbers in self._blocks(count, seed):
            found[start : start + len(vectors)], members[start : start + len(vectors)] = vectors, numbers
        return found, members

    def texts(self, count: int, seed: int = 2) -> Vectors:
        """Unit vectors (count, D) off the cone of the pictures, each nearest to those of one or two clusters."""
        random = np.random.default_rng(seed)
        one, other = random.integers(len(self.centres), size=(2, count))
        share = random.uniform(0.5, 1, (count, 1)).astype(np.float32)
        meant = _unit(share * self.centres[one] + (1 - share) * self.centres[other] + 0.5 * self._noise(random, count))
        return _unit(GAP * self.gap + np.float32(1 - GAP**2) ** 0.5 * meant)

    def _blocks(self, count: int, seed: int) -> Iterator[tuple[int, Vectors, Numbers]]:
        random = np.random.default_rng(seed)
        weights = np.arange(1, len(self.centres) + 1) ** -0.5
        for start in range(0, count, BLOCK):
            size = min(BLOCK, count - start)
            numbers = random.choice(len(self.centres), size, p=weights / weights.sum())
            own = (1 - SPREAD) ** 0.5 * self.centres[numbers] + SPREAD**0.5 * self._noise(random, size)
            yield start, _unit(CONE * self.common + np.float32(1 - CONE**2) ** 0.5 * _unit(own)), numbers

    def _noise(self, random: np.random.Generator, count: int) -> Vectors:
        return _unit((random.standard_normal((count, len(self.spread)), np.float32) * self.spread) @ self.basis)


def _unit(vectors: npt.NDArray[np.floating]) -> Vectors:
    found: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return found
