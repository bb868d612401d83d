"""The model at work on one batch after another, from several threads; memory that runs short makes batches smaller."""

import logging
import time
from collections.abc import Sequence

import numpy as np

from embeddings_dagster.encoders.base import Encoded, Encoder, Prepared, Vectors
from embeddings_dagster.encoders.batch_size import BatchSize
from embeddings_dagster.encoders.readiness import Ready
from embeddings_dagster.errors import EmbeddingsError, EncodeFailed, ItemError, NotFinite, OutOfMemory

SIGNS_OF_MEMORY = ("out of memory", "DefaultCPUAllocator", "STATUS_ALLOC_FAILED")

_log = logging.getLogger(__name__)

Outcome = tuple[Vectors, str] | ItemError


class Work:
    """Encodes batches of images that were made ready. Once memory was short, batches stay as small as they became."""

    def __init__(self, encoder: Encoder, size: BatchSize) -> None:
        self._encoder, self._size = encoder, size

    def encode(self, batch: Sequence[Ready]) -> list[Encoded]:
        """One `Encoded` for each image, in order.

        Raises:
            EncodeFailed: the model failed for a reason that is no single image's fault.
        """
        images = [Prepared(each.unit, each.pixels, each.size) for each in batch if each.pixels is not None]
        outcomes = iter(self._outcomes(images))
        return [self._encoded(each, each.error or next(outcomes)) for each in batch]

    def _encoded(self, ready: Ready, outcome: Outcome) -> Encoded:
        if isinstance(outcome, ItemError):
            return Encoded(ready.unit, error=outcome, left_out=ready.left_out)
        vectors, precision = outcome
        if not _sound(vectors):
            error = NotFinite("the model gave a vector that is zero or not finite")
            return Encoded(ready.unit, error=error, left_out=ready.left_out)
        return Encoded(ready.unit, vectors=vectors, precision=precision, left_out=ready.left_out)

    def _outcomes(self, images: Sequence[Prepared]) -> list[Outcome]:
        """Vectors of each image's regions and their precision, or that there was not even memory for it alone."""
        if not images:
            return []
        while True:
            size = self._size.current
            found = self._attempt(images, size)
            if found is not None:
                return list(found)
            if not self._size.shrink(size):
                break
            _log.warning("out of memory: going on with batches of %d", self._size.current)
        if len(images) > 1:
            return [self._outcomes([image])[0] for image in images]
        return [OutOfMemory("the model runs out of memory on this image alone; use a smaller model or another device")]

    def _attempt(self, images: Sequence[Prepared], size: int) -> list[tuple[Vectors, str]] | None:
        """Vectors of all regions; None when memory did not suffice.

        It returns, rather than raises, so that the failed attempt's tensors are gone before the next one.
        """
        gate = self._encoder.gate
        started = time.perf_counter()
        try:
            if gate is not None and not gate.settled:
                return gate.encode(images, size)
            vectors = self._encoder.encode(images, size)
        except EmbeddingsError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                return None
            raise EncodeFailed(
                f"the model {self._encoder.name!r} failed on a batch of {len(images)} images "
                f"({type(error).__name__}: {error}); they are tried again by the next run"
            ) from error
        self._size.measured(len(vectors), time.perf_counter() - started)
        ends = np.cumsum([len(image.unit.regions) for image in images])
        return [(each, self._encoder.precision) for each in np.split(vectors, ends[:-1])]


def is_out_of_memory(error: Exception) -> bool:
    """Whether `error` is how Python or torch, on any device, says that memory did not suffice."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS_OF_MEMORY)


def _sound(vectors: Vectors) -> bool:
    return bool(np.isfinite(vectors).all() and vectors.any(axis=1).all())
