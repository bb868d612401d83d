"""Pictures as they come: in order, a few at a time, answered before the input ends, and left at any time."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from embeddings_dagster import CLIPEmbedder
from embeddings_dagster.embedder import Vector
from embeddings_dagster_tests.embedder.forwards import PATIENCE, Forwards


async def collect(stream: AsyncIterator[Vector | None]) -> list[Vector | None]:
    return [vector async for vector in stream]


def test_all_kinds_of_input_in_order(clip: str, paths: list[Path]) -> None:
    async def coming() -> AsyncIterator[Path]:
        for path in paths:
            await asyncio.sleep(0)
            yield path

    async def run() -> None:
        async with CLIPEmbedder(clip) as embedder:
            expected = await embedder.generate_embeddings_batch(paths)
            for sources in (paths, tuple(paths), iter(paths), (path for path in paths), dict.fromkeys(paths), coming()):
                np.testing.assert_allclose(await collect(embedder.stream_embeddings(sources)), expected, atol=1e-6)
            assert await collect(embedder.stream_embeddings(iter(()))) == []

    asyncio.run(run())


def test_an_answer_comes_before_the_next_picture_does(clip: str, paths: list[Path]) -> None:
    async def run() -> None:
        answered = asyncio.Event()

        async def coming() -> AsyncIterator[Path]:
            for path in paths[:3]:
                yield path
                await asyncio.wait_for(answered.wait(), PATIENCE)
                answered.clear()

        async with CLIPEmbedder(clip) as embedder:
            async for vector in embedder.stream_embeddings(coming()):
                assert vector is not None
                answered.set()

    asyncio.run(run())


def test_an_iterator_that_waits_does_not_hold_up_the_loop(clip: str, paths: list[Path]) -> None:
    answered = threading.Event()

    def coming() -> Iterator[Path]:
        yield paths[0]
        assert answered.wait(PATIENCE), "the event loop is held up"
        yield paths[1]

    async def run() -> None:
        async with CLIPEmbedder(clip) as embedder:
            async for _ in embedder.stream_embeddings(coming()):
                answered.set()

    asyncio.run(run())


def test_only_a_few_are_taken_ahead_of_the_consumer(clip: str, paths: list[Path]) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield paths[taken % len(paths)]

    async def run() -> None:
        async with CLIPEmbedder(clip, batch_size=4, threads=2) as embedder:
            async with aclosing(embedder.stream_embeddings(endless())) as stream:
                for at in range(1, 60):
                    await anext(stream)
                    # Two threads that decode, and a batch for each thread that encodes and one to come.
                    assert taken - at <= 2 + 4 * (embedder._line._stage.lanes + 1) + 1
            assert await embedder.generate_embedding(paths[0]) is not None

    asyncio.run(run())


def test_leaving_early_leaves_no_thread_and_nothing_asked_for(clip: str, paths: list[Path], forwards: Forwards) -> None:
    async def run() -> None:
        before = set(threading.enumerate())
        embedder = CLIPEmbedder(clip, batch_size=1)
        async for vector in embedder.stream_embeddings(path for path in paths * 50):
            assert vector is not None
            break
        await embedder.aclose()
        for thread in set(threading.enumerate()) - before:
            if thread.name.startswith("embedder-"):
                thread.join(PATIENCE)
                assert not thread.is_alive()

    asyncio.run(run())
    assert sum(forwards.sizes) < 50


def test_what_the_input_raises_comes_behind_what_it_gave(clip: str, paths: list[Path]) -> None:
    def coming() -> Iterator[Path]:
        yield from paths[:3]
        raise OSError("the disk is gone")

    async def run() -> None:
        async with CLIPEmbedder(clip) as embedder:
            stream = embedder.stream_embeddings(coming())
            for _ in range(3):
                assert await anext(stream) is not None
            with pytest.raises(OSError, match="the disk is gone"):
                await anext(stream)
            with pytest.raises(TypeError, match="not iterable"):
                await collect(embedder.stream_embeddings(5))
            with pytest.raises(TypeError, match="a list of pictures is wanted"):
                await collect(embedder.stream_embeddings("a.png"))

    asyncio.run(run())


def test_an_input_that_belongs_to_the_thread_it_began_in(clip: str, paths: list[Path], tmp_path: Path) -> None:
    def rows() -> Iterator[str]:
        database = sqlite3.connect(tmp_path / "shop.db")
        database.execute("CREATE TABLE pictures (path TEXT)")
        database.executemany("INSERT INTO pictures VALUES (?)", [(str(path),) for path in paths])
        for (path,) in database.execute("SELECT path FROM pictures"):
            yield path
        database.close()

    async def run() -> list[Vector | None]:
        async with CLIPEmbedder(clip) as embedder:
            return await collect(embedder.stream_embeddings(rows()))

    assert len(asyncio.run(run())) == len(paths)
