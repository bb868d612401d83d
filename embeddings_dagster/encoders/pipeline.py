"""Units in, vectors out: pictures are decoded and prepared in threads while the model encodes those before them.

Order is kept. What is wrong with one image costs that image alone: a picture that cannot be decoded, memory that does
not suffice even for it alone, a vector that is not finite. What is wrong with the model stops the work. Memory is
bounded by one batch and `AHEAD_BYTES`; no thread outlives the iterator.
"""

import logging
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from embeddings_dagster.encoders.base import Decode, Encoded, Encoder, Region, Unit, Vectors
from embeddings_dagster.errors import EncodeFailed, ItemError, NotFinite, OutOfMemory, PrepareFailed, Stopped

AHEAD_BYTES = 256 * 2**20  # of encoded bytes and prepared pixels that wait for the model
SIGNS_OF_MEMORY = ("out of memory", "DefaultCPUAllocator", "STATUS_ALLOC_FAILED")

_log = logging.getLogger(__name__)


def encode_units(
    encoder: Encoder,
    units: Iterable[Unit],
    decode: Decode,
    *,
    batch_size: int,
    threads: int,
    stop: threading.Event | None = None,
) -> Iterator[Encoded]:
    """One `Encoded` for each unit, in their order; `units` is read in the caller's thread, only as far as needed.

    Raises:
        Stopped: `stop` was set; looked at before each image and each batch.
        EncodeFailed: the model failed for a reason that is no single image's fault.
    """
    stop = stop or threading.Event()
    work = _Work(encoder, batch_size)
    with closing(_prepared(encoder, units, decode, batch_size=batch_size, threads=threads, stop=stop)) as ready:
        for batch in _batches(ready, batch_size, alone=encoder.whole_image):
            _check(stop)
            yield from work.encode(batch)


def encode_image(encoder: Encoder, image: Image.Image) -> Vectors:
    """The vector (D,) of one decoded RGB picture, as a search needs it.

    Raises:
        ItemError: the picture cannot be encoded.
    """
    unit = Unit("query", b"", (Region(0, None, None, ""),))
    prepared = _prepare(encoder, unit, lambda _: image)
    (encoded,) = _Work(encoder, 1).encode([prepared])
    if encoded.error is not None:
        raise encoded.error
    assert encoded.vectors is not None
    vector: Vectors = encoded.vectors[0]
    return vector


@dataclass(frozen=True)
class _Prepared:
    """A unit without its bytes, and its pixels (regions, 3, H, W) or what went wrong."""

    unit: Unit
    pixels: Vectors | None = None
    error: ItemError | None = None


def _prepare(encoder: Encoder, unit: Unit, decode: Decode) -> _Prepared:
    bare = replace(unit, data=b"")
    try:
        return _Prepared(bare, encoder.prepare(decode(unit.data), unit))
    except ItemError as error:
        return _Prepared(bare, error=error)
    except MemoryError:
        return _Prepared(bare, error=OutOfMemory("not enough memory to decode the picture and make it ready"))
    except Exception as error:  # one picture must not end the run of 40,000 others, whatever it does to a library
        return _Prepared(bare, error=PrepareFailed(f"cannot be made ready for the model ({_named(error)})"))


def _prepared(
    encoder: Encoder, units: Iterable[Unit], decode: Decode, *, batch_size: int, threads: int, stop: threading.Event
) -> Generator[_Prepared, None, None]:
    """Units prepared in threads, up to a batch and `AHEAD_BYTES` ahead of the one that is taken."""
    height, width = encoder.image_size
    waiting: deque[tuple[int, Future[_Prepared]]] = deque()
    held = 0
    pool = ThreadPoolExecutor(threads, thread_name_prefix="prepare")
    try:
        for unit in units:
            _check(stop)
            cost = len(unit.data) + len(unit.regions) * height * width * 3 * 4
            while waiting and (len(waiting) >= batch_size + threads or held + cost > AHEAD_BYTES):
                freed, future = waiting.popleft()
                held -= freed
                yield future.result()
            waiting.append((cost, pool.submit(_prepare, encoder, unit, decode)))
            held += cost
        while waiting:
            _check(stop)
            yield waiting.popleft()[1].result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _batches(ready: Iterator[_Prepared], batch_size: int, *, alone: bool) -> Iterator[list[_Prepared]]:
    """Images gathered until their regions fill a batch; an image's regions stay together."""
    batch: list[_Prepared] = []
    regions = 0
    for each in ready:
        batch.append(each)
        regions += len(each.unit.regions)
        if alone or regions >= batch_size:
            yield batch
            batch, regions = [], 0
    if batch:
        yield batch


class _Work:
    """The model at work; once memory was short, batches stay as small as they had to become."""

    def __init__(self, encoder: Encoder, batch_size: int) -> None:
        self._encoder, self._batch_size = encoder, batch_size

    def encode(self, batch: Sequence[_Prepared]) -> Iterator[Encoded]:
        images = [each for each in batch if each.pixels is not None]
        results = iter(self._vectors([each.pixels for each in images if each.pixels is not None]))
        for each in batch:
            outcome = next(results) if each.error is None else each.error
            if isinstance(outcome, ItemError):
                yield Encoded(each.unit, error=outcome)
            elif not _sound(outcome):
                message = "the model gave a vector that is zero or not finite"
                yield Encoded(each.unit, error=NotFinite(message))
            else:
                yield Encoded(each.unit, vectors=outcome)

    def _vectors(self, images: Sequence[Vectors]) -> list[Vectors | OutOfMemory]:
        """Vectors of each image's regions, or that there was not even memory for it alone."""
        if not images:
            return []
        while True:
            vectors = self._attempt(images)
            if vectors is not None:
                ends = np.cumsum([len(image) for image in images])
                return list(np.split(vectors, ends[:-1]))
            if self._batch_size == 1:
                break
            self._batch_size //= 2
            _log.warning("out of memory: going on with batches of %d", self._batch_size)
        if len(images) > 1:
            return [self._vectors([image])[0] for image in images]
        return [OutOfMemory("the model runs out of memory on this image alone; use a smaller model or another device")]

    def _attempt(self, images: Sequence[Vectors]) -> Vectors | None:
        """Vectors of all regions; None when memory did not suffice.

        It returns, rather than raises, so that the failed attempt's tensors are gone before the next one.
        """
        try:
            return self._encoder.encode(np.concatenate(images), self._batch_size)
        except Exception as error:
            if is_out_of_memory(error):
                return None
            raise EncodeFailed(
                f"the model {self._encoder.name!r} failed on a batch of {len(images)} images ({_named(error)}); "
                "they are tried again by the next run"
            ) from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether `error` is how Python or torch, on any device, says that memory did not suffice."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS_OF_MEMORY)


def _sound(vectors: Vectors) -> bool:
    return bool(np.isfinite(vectors).all() and vectors.any(axis=1).all())


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise Stopped("stopped on request while encoding; run again to go on")
