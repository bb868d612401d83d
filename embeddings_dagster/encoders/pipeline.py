"""Units in, vectors out: pictures are decoded and prepared in threads while the model encodes those before them.

Order is kept. What is wrong with one image costs that image alone: a picture that cannot be decoded, memory that does
not suffice even for it alone, a vector that is not finite. What is wrong with the model stops the work. Memory is
bounded by a few batches and `AHEAD_BYTES`; no thread outlives the iterator.
"""

import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

from PIL import Image

from embeddings_dagster.encoders.base import Decode, Encoded, Encoder, Region, Unit, Vectors
from embeddings_dagster.encoders.batch_size import BatchSize
from embeddings_dagster.encoders.readiness import Ready, make_ready
from embeddings_dagster.encoders.work import Work
from embeddings_dagster.errors import Stopped

AHEAD_BYTES = 256 * 2**20  # of encoded bytes and prepared pixels that wait for the model


def encode_units(
    encoder: Encoder,
    units: Iterable[Unit],
    decode: Decode,
    *,
    batch_size: int | str,
    threads: int,
    stop: threading.Event | None = None,
) -> Iterator[Encoded]:
    """One `Encoded` for each unit, in their order; `units` is read in the caller's thread, only as far as needed.

    `batch_size` is a number of regions, or `auto`. Beside the `threads` that prepare, `encoder.streams` threads encode.

    Raises:
        Stopped: `stop` was set; looked at before each image and each batch.
        EncodeFailed: the model failed for a reason that is no single image's fault.
    """
    stop = stop or threading.Event()
    size = BatchSize.of(batch_size, device=encoder.device)
    work = Work(encoder, size)
    waiting: deque[Future[list[Encoded]]] = deque()
    pool = ThreadPoolExecutor(encoder.streams, thread_name_prefix="encode", initializer=encoder.begin_stream)
    try:
        with closing(_prepared(encoder, units, decode, size, threads=threads, stop=stop)) as ready:
            for batch in _batches(ready, size):
                _check(stop)
                waiting.append(pool.submit(work.encode, batch))
                # One batch beyond those at work, so that no stream waits while the results of others are taken.
                while len(waiting) > encoder.streams or (waiting and waiting[0].done()):
                    _check(stop)
                    yield from waiting.popleft().result()
            while waiting:
                _check(stop)
                yield from waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def encode_image(encoder: Encoder, image: Image.Image) -> Vectors:
    """The vector (D,) of one decoded RGB picture, as a search needs it.

    Raises:
        ItemError: the picture cannot be encoded.
    """

    def decoded(data: bytes, *, at_least: int = 0) -> Image.Image:
        return image

    unit = Unit("query", b"", (Region(0, None, None, ""),))
    (encoded,) = Work(encoder, BatchSize.of(1, device=encoder.device)).encode([make_ready(encoder, unit, decoded)])
    if encoded.error is not None:
        raise encoded.error
    assert encoded.vectors is not None
    vector: Vectors = encoded.vectors[0]
    return vector


def _prepared(
    encoder: Encoder, units: Iterable[Unit], decode: Decode, size: BatchSize, *, threads: int, stop: threading.Event
) -> Generator[Ready, None, None]:
    """Units prepared in threads, up to a batch and `AHEAD_BYTES` ahead of the one that is taken."""
    height, width = encoder.image_size
    waiting: deque[tuple[int, Future[Ready]]] = deque()
    held = 0
    pool = ThreadPoolExecutor(threads, thread_name_prefix="prepare")
    try:
        for unit in units:
            _check(stop)
            cost = len(unit.data) + len(unit.regions) * height * width * 3 * 4
            while waiting and (len(waiting) >= size.current + threads or held + cost > AHEAD_BYTES):
                freed, future = waiting.popleft()
                held -= freed
                yield future.result()
            waiting.append((cost, pool.submit(make_ready, encoder, unit, decode)))
            held += cost
        while waiting:
            _check(stop)
            yield waiting.popleft()[1].result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _batches(ready: Iterator[Ready], size: BatchSize) -> Iterator[list[Ready]]:
    """Images gathered until their regions fill a batch; an image's regions stay together."""
    batch: list[Ready] = []
    regions = 0
    for each in ready:
        batch.append(each)
        regions += len(each.unit.regions)
        if regions >= size.current:
            yield batch
            batch, regions = [], 0
    if batch:
        yield batch


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise Stopped("stopped on request while encoding; run again to go on")
