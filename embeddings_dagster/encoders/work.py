"""The model at work on one batch after another, from several threads; memory that runs short makes batches smaller."""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from embeddings_dagster.encoders.base import Encoded, Encoder, Prepared, Vectors
from embeddings_dagster.encoders.batch_size import BatchSize
from embeddings_dagster.encoders.gate import split
from embeddings_dagster.encoders.readiness import Ready
from embeddings_dagster.errors import EmbeddingsError, EncodeFailed, ItemError, NotFinite, OutOfMemory, Unencodable

SIGNS_OF_MEMORY = ("out of memory", "DefaultCPUAllocator", "STATUS_ALLOC_FAILED")

_log = logging.getLogger(__name__)

Found = list[tuple[Vectors, str]]
Outcome = tuple[Vectors, str] | ItemError


class Work:
    """Encodes batches of images that were made ready. Once memory was short, batches stay as small as they became."""

    def __init__(self, encoder: Encoder, size: BatchSize) -> None:
        self._encoder, self._size = encoder, size
        self._begun = threading.local()

    def encode_in_stream(self, batch: Sequence[Ready]) -> list[Encoded]:
        """As `encode`, in a thread of several that encode side by side."""
        if not getattr(self._begun, "here", False):
            self._encoder.begin_stream()
            self._begun.here = True
        return self.encode(batch)

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
        sound = [bool(np.isfinite(vector).all() and vector.any()) for vector in vectors]
        if all(sound):
            return Encoded(ready.unit, vectors=vectors, precision=precision, left_out=ready.left_out)
        error = NotFinite("the model gave a vector that is zero or not finite")
        if self._encoder.whole_image or not any(sound):
            return Encoded(ready.unit, error=error, left_out=ready.left_out)
        pairs = list(zip(ready.unit.regions, sound, strict=True))
        unit = replace(ready.unit, regions=tuple(region for region, fits in pairs if fits))
        left_out = {**ready.left_out, **{region.region: error for region, fits in pairs if not fits}}
        return Encoded(unit, vectors=vectors[sound], precision=precision, left_out=left_out)

    def _outcomes(self, images: Sequence[Prepared]) -> list[Outcome]:
        """Vectors of each image's regions and their precision, or why there are none.

        Raises:
            EncodeFailed: see `encode`.
        """
        if not images:
            return []
        try:
            return self._as_memory_allows(images)
        except EncodeFailed as error:
            if len(images) == 1:
                raise
            failure = error
        found = [self._alone(image) for image in images]
        if all(isinstance(each, ItemError) for each in found):  # nothing shows that the model works at all
            raise failure
        return found

    def _alone(self, image: Prepared) -> Outcome:
        try:
            return self._outcomes([image])[0]
        except EncodeFailed as error:
            return Unencodable(f"the model fails on this image, and not on those beside it ({error})")

    def _as_memory_allows(self, images: Sequence[Prepared]) -> list[Outcome]:
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

    def _attempt(self, images: Sequence[Prepared], size: int) -> Found | None:
        """Vectors of all regions; None when memory did not suffice.

        It returns, rather than raises, so that the failed attempt's tensors are gone before the next one.
        """
        gate = self._encoder.gate
        looked_at = gate is not None and not gate.over  # twice the work, which says nothing of the batch's size
        started = time.perf_counter()
        try:
            found = self._encode(images, size) if gate is None or gate.settled else gate.encode(images, size)
        except EmbeddingsError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                return None
            raise EncodeFailed(
                f"the model {self._encoder.name!r} failed on {_named(images)} ({type(error).__name__}: {error}); "
                "what has no vector yet is tried again by the next run"
            ) from error
        if not looked_at:
            self._size.measured(sum(len(vectors) for vectors, _ in found), time.perf_counter() - started)
        return found

    def _encode(self, images: Sequence[Prepared], size: int) -> Found:
        vectors = self._encoder.encode(images, size)
        return [(each, self._encoder.precision) for each in split(vectors, images)]


def _named(images: Sequence[Prepared]) -> str:
    first, last = images[0].unit.image_id, images[-1].unit.image_id
    return f"image {first!r}" if len(images) == 1 else f"a batch of {len(images)} images, {first!r} to {last!r}"


def is_out_of_memory(error: Exception) -> bool:
    """Whether `error` is how Python or torch, on any device, says that memory did not suffice."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS_OF_MEMORY)
