"""The parity gate: are vectors of a lower precision still those of float32? Looked at, not assumed.

The first images that a process encodes are encoded in float32 too, and what is too far off gets the vectors of float32.
If that happens too often, all that follow are encoded in float32, with a warning that says what it costs.
"""

import logging
import threading
from collections.abc import Callable, Sequence

import numpy as np

from embeddings_dagster.encoders.base import Encoder, Prepared, Vectors
from embeddings_dagster.errors import ModelError

CHECKED = 32  # images
MAY_FAIL = CHECKED // 16  # of them; with one more the precision is given up
EXACT = "fp32"

Found = list[tuple[Vectors, str]]

_log = logging.getLogger(__name__)


class Gate:
    """Watches `encoder`. `reference` loads the same model in float32, when the first image comes; it is closed as soon
    as it is not needed any more. `tolerance`: the least cosine that passes. Safe to share among threads."""

    def __init__(self, encoder: Encoder, reference: Callable[[], Encoder], tolerance: float) -> None:
        self._encoder, self._load, self._tolerance = encoder, reference, tolerance
        self._cosines: list[float] = []
        self._failed = 0
        self._over = self._given_up = self._closed = False
        self._reference: Encoder | None = None
        self._checking = threading.Lock()  # one batch at a time is checked, so that what follows a verdict obeys it
        self._state = threading.Lock()  # never held while something is encoded or loaded

    @property
    def over(self) -> bool:
        """Whether the check is over, however it ended."""
        return self._over

    @property
    def settled(self) -> bool:
        """Whether the check is over and the encoder passed it: then it may be called without the gate."""
        return self._over and not self._given_up

    def encode(self, images: Sequence[Prepared], batch_size: int) -> Found:
        """Vectors (regions, D) float32 of each of `images`, in order, and the precision they were computed in.

        An error, of the encoder or of the reference, leaves the check where it was.

        Raises:
            ModelError: the gate, and its encoder with it, has been closed.
        """
        found: Found = []
        while len(found) < len(images):
            found += self._some(images[len(found) :], batch_size)
        return found

    def close(self) -> None:
        """Free the reference's memory."""
        self._closed = True
        self._drop_reference()

    def _drop_reference(self) -> None:
        with self._state:
            reference, self._reference = self._reference, None
        if reference is not None:
            reference.close()

    def _some(self, images: Sequence[Prepared], batch_size: int) -> Found:
        """The first of `images`: those that are checked together, or, where the check is over, all of them."""
        if not self._over:
            with self._checking:
                if not self._over:
                    return self._checked(images[: CHECKED - len(self._cosines)], batch_size)
        encoder = self._exact() if self._given_up else self._encoder
        vectors = split(encoder.encode(images, batch_size), images)
        return [(each, encoder.precision) for each in vectors]

    def _checked(self, images: Sequence[Prepared], batch_size: int) -> Found:
        fast = split(self._encoder.encode(images, batch_size), images)
        exact = split(self._exact().encode(images, batch_size), images)
        cosines = [least_cosine(*pair) for pair in zip(fast, exact, strict=True)]
        passed = [cosine >= self._tolerance for cosine in cosines]
        self._cosines += cosines
        self._failed += passed.count(False)
        self._conclude()
        return [
            (mine, self._encoder.precision) if fits else (theirs, EXACT)
            for mine, theirs, fits in zip(fast, exact, passed, strict=True)
        ]

    def _conclude(self) -> None:
        """Once enough is known, give the reference up, or the precision."""
        if self._failed > MAY_FAIL:
            self._given_up = self._over = True
            _log.warning("%s", self._verdict())
        elif len(self._cosines) >= CHECKED:
            self._over = True
            self._drop_reference()
            if self._failed:
                _log.info(
                    "%s: %d of the first %d images were encoded in float32, since their cosine with it was below %g",
                    self._encoder.name,
                    self._failed,
                    len(self._cosines),
                    self._tolerance,
                )

    def _verdict(self) -> str:
        encoder, precision = self._encoder, self._encoder.precision
        if precision == "int8":
            remedy = (
                "set `precision` to bf16 or fp32, or raise `calibration`, which calibrates anew on today's pictures"
            )
        else:
            remedy = "set `precision` to fp32"
        return (
            f"the vectors of {encoder.name} in {precision} are too far from those in float32: of the first "
            f"{len(self._cosines)} images {self._failed} have a cosine below {self._tolerance:g} (least "
            f"{min(self._cosines):.5f}, median {np.median(self._cosines):.5f}). This process goes on in float32, which "
            f"gives right vectors and takes longer; to choose, {remedy}, or `parity` to what is good enough"
        )

    def _exact(self) -> Encoder:
        """The reference; loaded here by the first to check, and so by one thread only."""
        if self._reference is None and not (self._over or self._closed):
            loaded = self._load()
            with self._state:
                if not self._closed:
                    self._reference = loaded
            if self._closed:
                loaded.close()
        reference = self._reference
        if reference is None or self._closed:
            raise ModelError(f"the model {self._encoder.name!r} has been closed; load it again")
        return reference


def least_cosine(vectors: Vectors, exact: Vectors) -> float:
    """The least cosine between rows (n, D) and those they should be.

    A row that should be zero, or is not finite in float32 either, is the picture's fault and says nothing: 1.
    """
    told = np.isfinite(exact).all(axis=1) & exact.any(axis=1)
    if not told.any():
        return 1.0
    mine, theirs = vectors[told].astype(np.float64), exact[told].astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        lengths = np.linalg.norm(mine, axis=1) * np.linalg.norm(theirs, axis=1)
        cosines = np.einsum("nd,nd->n", mine, theirs) / lengths
    return float(np.nan_to_num(cosines, nan=-1.0, posinf=-1.0, neginf=-1.0).min())


def split(vectors: Vectors, images: Sequence[Prepared]) -> list[Vectors]:
    """Vectors of all regions, by image."""
    ends = np.cumsum([len(image.unit.regions) for image in images])
    return np.split(vectors, ends[:-1])
