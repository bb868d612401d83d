"""Where pictures lie on a map: t-SNE, exact, from the principal components, without chance.

Principal components alone put little into two dimensions; of neighbours it is t-SNE that keeps them together (van der
Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 9, 2008). Every pair is computed, which numpy does for a few
thousand pictures in seconds, so that no further package is needed; larger collections are sampled. Starting from the
components and not from random places, as Kobak and Berens ("The art of using t-SNE", 2019) advise, makes it repeatable.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Places = npt.NDArray[np.float64]

COMPONENTS = 50  # that neighbours are told by
PERPLEXITY = 20.0  # how many neighbours count, about
STEPS, EARLY = 400, 100  # of the descent; the first with attraction exaggerated
EXAGGERATION = 12.0
ROUNDS = 32  # of the search for a width; halves an interval each time


def layout(vectors: Vectors, check_stop: Callable[[], None] = lambda: None) -> Places:
    """Places (n, 2) of vectors (n, D), from 0 to 1 in each direction; the same for the same vectors."""
    count = len(vectors)
    if count < 4:
        return (
            np.stack([np.arange(count) / max(1, count - 1), np.full(count, 0.5)], axis=1) if count else np.zeros((0, 2))
        )
    reduced = principal(vectors, COMPONENTS)
    begin = reduced[:, :2] if reduced.shape[1] > 1 else np.pad(reduced[:, :1], ((0, 0), (0, 1)))
    spread = begin[:, 0].std() or 1.0
    places = _descend(_affinities(reduced), begin / spread * 1e-4, check_stop)
    low, high = places.min(axis=0), places.max(axis=0)
    found: Places = (places - low) / np.where(high > low, high - low, 1.0)
    return found


def principal(vectors: Vectors, most: int) -> Places:
    """The first principal components (n, at most `most`); each turned so that its largest weight is positive."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, : min(most, *vectors.shape)]
    largest = np.abs(axes).argmax(axis=0)
    found: Places = centred @ (axes * np.where(axes[largest, np.arange(axes.shape[1])] < 0, -1.0, 1.0))
    return found


def _squared_distances(points: Places) -> Places:
    squares = np.einsum("nd,nd->n", points, points)
    found: Places = np.maximum(squares[:, None] + squares[None, :] - 2 * points @ points.T, 0)
    np.fill_diagonal(found, 0)
    return found


def _affinities(points: Places) -> npt.NDArray[np.float32]:
    """p(i, j): Gaussians whose widths give each point the same perplexity, made symmetric; they sum to 1."""
    apart = _squared_distances(points)
    count = len(points)
    np.fill_diagonal(apart, np.inf)
    apart -= apart.min(axis=1, keepdims=True)
    wanted = np.log(min(PERPLEXITY, (count - 1) / 3))
    typical = np.median(apart[np.isfinite(apart)]) or 1.0
    low, high = np.full(count, -20.0), np.full(count, 40.0)  # exponents of two of the precision, over the typical
    finite = np.where(np.isfinite(apart), apart, 0.0)
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        precision = np.exp2(middle)[:, None] / typical
        weights = np.exp(-apart * precision)
        sums = weights.sum(axis=1)
        entropy = np.log(sums) + (weights * finite * precision).sum(axis=1) / sums
        wide = entropy > wanted
        low, high = np.where(wide, middle, low), np.where(wide, high, middle)
    mine = weights / sums[:, None]
    found: npt.NDArray[np.float32] = ((mine + mine.T) / (2 * count)).astype(np.float32)
    return found


def _descend(affinities: npt.NDArray[np.float32], begin: Places, check_stop: Callable[[], None]) -> Places:
    """Gradient descent with momentum and gains, as in the paper."""
    places = begin.astype(np.float32)
    moved, gains = np.zeros_like(places), np.ones_like(places)
    rate = np.float32(max(50.0, len(places) / EXAGGERATION / 4))
    near, pull = np.empty_like(affinities), np.empty_like(affinities)  # written over in each step: half the time
    attraction = affinities * np.float32(EXAGGERATION)
    for step in range(STEPS):
        if step == EARLY:
            attraction = affinities
        if step % 10 == 0:
            check_stop()
        squares = np.einsum("nd,nd->n", places, places)
        np.matmul(-2 * places, places.T, out=near)
        near += squares[:, None] + 1
        near += squares[None, :]
        np.reciprocal(near, out=near)
        np.fill_diagonal(near, 0)
        np.multiply(near, np.float32(-1 / near.sum(dtype=np.float64)), out=pull)
        pull += attraction
        pull *= near
        sums = pull @ np.column_stack([places, np.ones(len(places), np.float32)])
        gradient = 4 * (sums[:, 2:] * places - sums[:, :2])
        gains = np.clip(np.where((gradient > 0) == (moved > 0), gains * 0.8, gains + 0.2), 0.01, None)
        moved = np.float32(0.5 if step < EARLY else 0.8) * moved - rate * gains * gradient
        places = places + moved
        places -= places.mean(axis=0)
    return places.astype(np.float64)
