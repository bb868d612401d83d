"""Async for real: the event loop turns while models load, read and think; calls share batches, and nothing else."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embeddings_dagster import CLIPEmbedder
from embeddings_dagster.encoders.runtime import LOCK
from embeddings_dagster.errors import ModelError
from embeddings_dagster_tests.embedder.conftest import beats
from embeddings_dagster_tests.embedder.forwards import PATIENCE, Forwards
from embeddings_dagster_tests.encoders import tiny

AfterBeats = Callable[[threading.Event], "asyncio.Task[None]"]


class Slow(Image.Image):
    """A picture whose pixels are there once `go` is set."""

    @classmethod
    def of(cls, image: Image.Image, go: threading.Event) -> "Slow":
        slow = cls()
        slow.__setstate__(image.__getstate__())
        slow.go = go
        return slow

    def load(self) -> object:
        assert self.go.wait(PATIENCE), "the event loop is held up"
        return super().load()


def held_elsewhere(go: threading.Event) -> threading.Thread:
    """The lock that every load of a model takes, taken until `go`."""
    taken = threading.Event()

    def hold() -> None:
        with LOCK:
            taken.set()
            assert go.wait(PATIENCE), "the event loop is held up"

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(PATIENCE)
    return thread


def test_the_loop_turns_while_the_model_is_loaded(clip: str, paths: list[Path], after_beats: AfterBeats) -> None:
    async def run() -> None:
        async with CLIPEmbedder(clip) as embedder:
            go = threading.Event()
            thread = held_elsewhere(go)
            beating = after_beats(go)
            assert await embedder.generate_embedding(paths[0]) is not None
            await beating
            thread.join()

    asyncio.run(run())


def test_the_loop_turns_while_a_picture_is_decoded(clip: str, after_beats: AfterBeats) -> None:
    async def run() -> None:
        async with CLIPEmbedder(clip) as embedder:
            await embedder.load()
            go = threading.Event()
            beating = after_beats(go)
            assert await embedder.generate_embedding(Slow.of(tiny.picture(1), go)) is not None
            await beating

    asyncio.run(run())


def test_the_loop_turns_while_the_model_encodes(
    clip: str, paths: list[Path], after_beats: AfterBeats, forwards: Forwards
) -> None:
    async def run() -> None:
        async with CLIPEmbedder(clip) as embedder:
            await embedder.load()
            forwards.go.clear()
            beating = after_beats(forwards.go)
            assert np.stack(await embedder.generate_embeddings_batch(paths)).shape == (12, 24)
            await beating

    asyncio.run(run())


def test_the_loop_turns_while_a_text_is_encoded_and_while_all_is_closed(
    clip: str, paths: list[Path], after_beats: AfterBeats, forwards: Forwards
) -> None:
    async def run() -> None:
        embedder = CLIPEmbedder(clip)
        go = threading.Event()
        thread = held_elsewhere(go)
        beating = after_beats(go)
        assert (await embedder.embed_text("red heart")).ndim == 1
        await beating
        thread.join()
        forwards.go.clear()
        waiting = asyncio.create_task(embedder.generate_embedding(paths[0]))
        assert await asyncio.to_thread(forwards.begun.wait, PATIENCE)
        beating = after_beats(forwards.go)
        await embedder.aclose()
        await beating
        assert await waiting is not None  # the model was at it already

    asyncio.run(run())


def test_calls_at_the_same_time_go_through_the_model_together(clip: str, paths: list[Path], forwards: Forwards) -> None:
    async def run() -> None:
        async with CLIPEmbedder(clip, batch_size=6) as embedder:
            alone = [await embedder.generate_embedding(path) for path in paths]
            forwards.sizes.clear()
            together = await asyncio.gather(*map(embedder.generate_embedding, paths))
            np.testing.assert_allclose(together, alone, atol=1e-6)

    asyncio.run(run())
    assert sum(forwards.sizes) == len(paths)
    assert len(forwards.sizes) < len(paths)
    assert max(forwards.sizes) <= 6


def test_one_that_is_cancelled_harms_no_other(clip: str, paths: list[Path], forwards: Forwards) -> None:
    async def run() -> None:
        async with CLIPEmbedder(clip, batch_size=4) as embedder:
            await embedder.load()
            forwards.go.clear()
            tasks = [asyncio.create_task(embedder.generate_embedding(path)) for path in paths]
            assert await asyncio.to_thread(forwards.begun.wait, PATIENCE)
            for task in tasks[::3]:
                task.cancel()
            await beats()
            forwards.go.set()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            alone = await embedder.generate_embeddings_batch(paths)
        assert [isinstance(each, asyncio.CancelledError) for each in found] == [at % 3 == 0 for at in range(12)]
        for at in (1, 2, 4, 5, 7, 8, 10, 11):
            np.testing.assert_allclose(found[at], alone[at], atol=1e-6)

    asyncio.run(run())


@pytest.mark.parametrize("kept", [slice(0, 1), slice(5, 6), slice(11, 12)])
def test_all_but_one_may_be_cancelled(clip: str, paths: list[Path], forwards: Forwards, kept: slice) -> None:
    async def run() -> None:
        async with CLIPEmbedder(clip, batch_size=1, threads=1) as embedder:
            await embedder.load()
            forwards.go.clear()
            tasks = [asyncio.create_task(embedder.generate_embedding(path)) for path in paths]
            assert await asyncio.to_thread(forwards.begun.wait, PATIENCE)
            for task in set(tasks) - set(tasks[kept]):
                task.cancel()
            await beats()
            forwards.go.set()
            assert await tasks[kept][0] is not None
            assert await embedder.generate_embedding(paths[0]) is not None

    asyncio.run(run())


def test_a_batch_that_is_cancelled_leaves_the_embedder_at_work(
    clip: str, paths: list[Path], forwards: Forwards
) -> None:
    async def run() -> None:
        async with CLIPEmbedder(clip, batch_size=2) as embedder:
            forwards.go.clear()
            task = asyncio.create_task(embedder.generate_embeddings_batch(paths))
            assert await asyncio.to_thread(forwards.begun.wait, PATIENCE)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            forwards.go.set()
            assert await embedder.generate_embedding(paths[0]) is not None

    asyncio.run(run())
    assert sum(forwards.sizes) < len(paths)


def test_several_event_loops_in_turn_and_at_once(clip: str, paths: list[Path]) -> None:
    with CLIPEmbedder(clip) as embedder:

        def run(_: int) -> list[object]:
            return asyncio.run(embedder.generate_embeddings_batch(paths))

        expected = run(0)
        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(run, range(4)):
                np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_is_not_begun_when_it_is_closed_fails(clip: str, paths: list[Path], forwards: Forwards) -> None:
    async def run() -> list[object]:
        embedder = CLIPEmbedder(clip, batch_size=1)
        forwards.go.clear()
        tasks = [asyncio.create_task(embedder.generate_embedding(path)) for path in paths]
        assert await asyncio.to_thread(forwards.begun.wait, PATIENCE)
        closing = asyncio.create_task(embedder.aclose())
        await beats()
        forwards.go.set()
        await closing
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = asyncio.run(run())
    failed = [each for each in found if isinstance(each, Exception)]
    assert 0 < len(failed) < len(paths)
    assert all(isinstance(each, ModelError) and "was closed before" in str(each) for each in failed)


def test_an_embedder_that_is_forgotten_ends_its_threads(clip: str, paths: list[Path]) -> None:
    import gc

    embedder = CLIPEmbedder(clip)
    asyncio.run(embedder.generate_embeddings_batch(paths))
    threads = [each for each in threading.enumerate() if each.name.startswith("embedder-")]
    assert threads
    del embedder
    gc.collect()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
