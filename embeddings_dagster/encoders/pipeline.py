"""Units in, vectors out: pictures are decoded and prepared in threads while the model encodes those before them.

Order is kept. What is wrong with one image costs that image alone: a picture that cannot be decoded, memory that does
not suffice even for it alone, a model that fails on it and not on others, a vector that is not finite (which costs
its region alone). What is wrong with the model stops the work. Memory is bounded by a few batches, `AHEAD_BYTES` and a
few of the largest images; no thread outlives the iterator.
"""

import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

from PIL import Image

from embeddings_dagster.encoders.base import Decode, Encoded, Encoder, Region, Unit, Vectors
from embeddings_dagster.encoders.batch_size import BatchSize
from embeddings_dagster.encoders.readiness import Ready, make_ready
from embeddings_dagster.encoders.work import Work
from embeddings_dagster.errors import Stopped

AHEAD_BYTES = 256 * 2**20  # of encoded bytes and prepared pixels that wait to be gathered, or in batches too large


def encode_units(
    encoder: Encoder,
    units: Iterable[Unit],
    decode: Decode,
    *,
    batch_size: int | str | BatchSize,
    threads: int,
    stop: threading.Event | None = None,
) -> Iterator[Encoded]:
    """One `Encoded` for each unit, in their order; `units` is read in the caller's thread, only as far as needed.

    `batch_size` is a number of regions, or `auto`, or one that was used before and goes on from there. Beside the
    `threads` that prepare, `encoder.streams` threads encode.

    Raises:
        Stopped: `stop` was set; looked at before each image and each batch.
        EncodeFailed: the model failed for a reason that is no single image's fault.
    """
    stop = stop or threading.Event()
    size = batch_size if isinstance(batch_size, BatchSize) else BatchSize.of(batch_size, device=encoder.device)
    work = Work(encoder, size)
    waiting: deque[tuple[int, Future[list[Encoded]]]] = deque()
    held = 0
    pool = ThreadPoolExecutor(encoder.streams, thread_name_prefix="encode")
    try:
        with closing(_prepared(encoder, units, decode, size, threads=threads, stop=stop)) as ready:
            for batch in _batches(ready, size):
                _check(stop)
                cost = _excess(batch, size.current)
                waiting.append((cost, pool.submit(work.encode_in_stream, batch)))
                held += cost
                # One batch beyond those at work, so that no stream waits while the results of others are taken.
                while waiting and (len(waiting) > encoder.streams or held > AHEAD_BYTES or waiting[0][1].done()):
                    _check(stop)
                    freed, done = waiting.popleft()
                    yield from done.result()
                    held -= freed
            while waiting:
                _check(stop)
                yield from waiting.popleft()[1].result()
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
    bytes_each = 4  # of a value, until the first pictures tell
    pool = ThreadPoolExecutor(threads, thread_name_prefix="prepare")
    try:
        for unit in units:
            _check(stop)
            cost = len(unit.data) + len(unit.regions) * height * width * 3 * bytes_each
            while waiting and (len(waiting) >= size.current + threads or held + cost > AHEAD_BYTES):
                freed, future = waiting.popleft()
                held -= freed
                ready = future.result()
                if ready.pixels is not None:
                    bytes_each = ready.pixels.itemsize
                yield ready
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


def _excess(batch: Sequence[Ready], size: int) -> int:
    """How many bytes of pixels a batch holds beyond a full one: an image with thousands of regions is not split."""
    regions = sum(len(each.unit.regions) for each in batch)
    held = sum(each.pixels.nbytes for each in batch if each.pixels is not None)
    return held * max(0, regions - size) // max(1, regions)


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise Stopped("stopped on request while encoding; run again to go on")
