"""Pictures as they come, and their answers in the same order: as few at once as keep the line busy.

Answers come as soon as they and those before them are there, whether or not more pictures are. Whoever stops early
leaves nothing behind: what was asked for is cancelled, and nothing more is taken.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from embeddings_dagster.embedder.pictures import Source
from embeddings_dagster.embedder.results import Embedded

HELD_BYTES = 256 * 2**20  # of pictures given as bytes or pixels that wait for their turn


class _End:
    """What `anext` and `next` give at the end."""


END: Final = _End()


async def in_order(
    sources: Iterable[Source] | AsyncIterable[Source],
    submit: "Callable[[Source], Future[Embedded]]",
    ahead: Callable[[], int],
) -> AsyncGenerator[Embedded, None]:
    """An answer for each of `sources`, in order; `ahead()` is how many may be unanswered at once.

    Raises:
        Exception: what `sources` raises, behind the answers to what it gave before; what answers raise.
    """
    coming = _each(sources)
    waiting: deque[tuple[int, asyncio.Future[Embedded]]] = deque()
    held = 0
    pull: asyncio.Future[Source | _End] | None = None
    ended = False
    failure: Exception | None = None
    try:
        while waiting or not ended:
            if waiting and waiting[0][1].done():
                size, first = waiting.popleft()
                held -= size
                yield first.result()
                continue
            if pull is None and not ended and len(waiting) < ahead() and held < HELD_BYTES:
                pull = asyncio.ensure_future(anext(coming, END))
            await asyncio.wait(
                [each for each in (pull, waiting[0][1] if waiting else None) if each is not None],
                return_when=asyncio.FIRST_COMPLETED,
            )
            if pull is None or not pull.done():
                continue
            try:
                source = pull.result()
            except Exception as error:
                failure, ended = error, True
            else:
                if isinstance(source, _End):
                    ended = True
                else:
                    size = _size(source)
                    held += size
                    waiting.append((size, asyncio.wrap_future(submit(source))))
            pull = None
        if failure is not None:
            raise failure
    finally:
        await _leave(pull, [each for _, each in waiting], coming)


async def _leave(
    pull: "asyncio.Future[Source | _End] | None",
    waiting: "list[asyncio.Future[Embedded]]",
    coming: AsyncGenerator[Source, None],
) -> None:
    for each in waiting:
        each.cancel()
    if pull is not None:
        pull.cancel()
        await asyncio.wait([pull])
        if not pull.cancelled():
            pull.exception()  # looked at, so that asyncio does not complain that nobody did
    for each in waiting:
        if each.done() and not each.cancelled():
            each.exception()
    await coming.aclose()


async def _each(sources: Iterable[Source] | AsyncIterable[Source]) -> AsyncGenerator[Source, None]:
    """The same one by one, without holding up the event loop: any other iterable than a list may have to wait."""
    if isinstance(sources, (list, tuple)):
        for source in sources:
            yield source
    elif isinstance(sources, AsyncIterable):
        async for source in sources:
            yield source
    else:
        async for source in _in_thread(sources):
            yield source


async def _in_thread(sources: Iterable[Source]) -> AsyncIterator[Source]:
    """All of it in one thread: what is tied to the thread that began it stays there."""
    loop = asyncio.get_running_loop()
    with _Thread() as pool:
        iterator = await loop.run_in_executor(pool, iter, sources)
        while not isinstance(source := await loop.run_in_executor(pool, next, iterator, END), _End):
            yield source


class _Thread(ThreadPoolExecutor):
    """One thread that is left to end by itself: it may be waiting for a picture that nobody wants any more."""

    def __init__(self) -> None:
        super().__init__(1, thread_name_prefix="embedder-sources")

    def __exit__(self, *_: object) -> None:
        self.shutdown(wait=False, cancel_futures=True)


def _size(source: object) -> int:
    """Bytes of memory that a picture holds while it waits, about."""
    if isinstance(source, (bytes, bytearray)):
        return len(source)
    pixels = getattr(source, "size", 0)
    if isinstance(pixels, tuple):
        return 4 * int(pixels[0]) * int(pixels[1])
    return int(getattr(source, "nbytes", 0))
