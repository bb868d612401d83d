"""Lanes, without a GPU: everything about them but the calls of CUDA itself."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.encoders import lanes
from embeddings_dagster.encoders.lanes import RECORDED, WARM_UP, Lane, Lanes
from embeddings_dagster.encoders.network_input import NetworkInput
from embeddings_dagster.encoders.work import is_out_of_memory
from embeddings_dagster_tests.encoders.host_queue import HostQueue

TABLE = np.random.default_rng(0).normal(size=(3, 256)).astype(np.float32)


def compute(pixels: torch.Tensor) -> torch.Tensor:
    """Five numbers of each picture, by way of its brightness."""
    return NetworkInput(TABLE, device="cpu", dtype=torch.float32)(pixels).flatten(1)[:, :5] * 2


def levels(count: int, seed: int = 0, size: tuple[int, int] = (4, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def expected(pixels: np.ndarray) -> np.ndarray:
    return compute(torch.from_numpy(pixels)).numpy()


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 99)), max_size=40))
def test_whatever_batches_come_each_gets_its_own_features(batches: list[tuple[int, int]]) -> None:
    lane = Lane(HostQueue(), compute)
    given_pixels = [levels(count, seed) for count, seed in batches]
    found = [lane.features(pixels) for pixels in given_pixels]
    for each, pixels in zip(found, given_pixels, strict=True):
        np.testing.assert_array_equal(each, expected(pixels))
        assert each.dtype == np.float32


def test_a_size_that_keeps_coming_is_recorded_once_and_then_issued_in_one_piece() -> None:
    queue = HostQueue()
    lane = Lane(queue, compute)
    for seed in range(WARM_UP + 4):
        np.testing.assert_array_equal(lane.features(levels(8, seed)), expected(levels(8, seed)))
    assert (queue.recorded, queue.replayed, queue.waited, queue.buffers) == (1, 4, WARM_UP + 4, 1)


def test_what_is_left_over_once_is_not_recorded() -> None:
    queue = HostQueue()
    lane = Lane(queue, compute)
    for count in (8, 7, 6, 5, 4, 3, 2, 1) * (WARM_UP - 1):
        lane.features(levels(count))
    assert queue.recorded == 0


def test_of_many_sizes_only_some_recorded_runs_are_kept() -> None:
    queue = HostQueue()
    lane = Lane(queue, compute)
    for count in range(RECORDED + 3, 0, -1):
        for _ in range(WARM_UP):
            lane.features(levels(count))
    assert queue.recorded == RECORDED + 3
    for count in range(1, RECORDED + 1):
        lane.features(levels(count))
    assert queue.replayed == RECORDED
    lane.features(levels(RECORDED + 3))
    assert queue.replayed == RECORDED


def test_a_larger_batch_gets_larger_buffers_and_old_runs_are_forgotten() -> None:
    queue = HostQueue()
    lane = Lane(queue, compute)
    for count in (4, 16):
        for seed in range(WARM_UP + 1):
            np.testing.assert_array_equal(lane.features(levels(count, seed)), expected(levels(count, seed)))
    np.testing.assert_array_equal(lane.features(levels(4, 9)), expected(levels(4, 9)))
    assert (queue.recorded, queue.replayed, queue.buffers) == (2, 2, 2)


def test_pictures_of_another_size_or_kind_are_taken_too() -> None:
    lane = Lane(HostQueue(), lambda pixels: pixels.float().flatten(1)[:, :2])
    for pixels in (levels(2), levels(3, size=(5, 5)), np.ones((2, 3, 4, 4), np.float32), levels(2)):
        np.testing.assert_array_equal(lane.features(pixels), pixels.reshape(len(pixels), -1)[:, :2].astype(np.float32))


def test_pixels_that_may_not_be_written_to_are_read() -> None:
    pixels = levels(2)
    pixels.flags.writeable = False
    np.testing.assert_array_equal(Lane(HostQueue(), compute).features(pixels), expected(pixels.copy()))


def test_a_device_that_cannot_record_is_used_step_by_step_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    lane = Lane(HostQueue(records=False), compute)
    with caplog.at_level(logging.WARNING, logger=lanes.__name__):
        for seed in range(WARM_UP * 3):
            for count in (4, 2):
                np.testing.assert_array_equal(lane.features(levels(count, seed)), expected(levels(count, seed)))
    (record,) = caplog.records
    assert "no CUDA graph (RuntimeError: operation not permitted" in record.getMessage()


def test_after_memory_was_short_nothing_is_held_and_a_smaller_batch_goes_through() -> None:
    def limited(pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return compute(pixels)

    queue = HostQueue()
    lane = Lane(queue, limited)
    for _ in range(WARM_UP):
        lane.features(levels(4))
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory") as raised:
        lane.features(levels(8))
    assert is_out_of_memory(raised.value)
    held = [each for each in vars(lane).values() if isinstance(each, torch.Tensor | lanes._Buffers)]
    assert not held
    np.testing.assert_array_equal(lane.features(levels(4, 1)), expected(levels(4, 1)))


def test_each_thread_has_a_lane_for_itself() -> None:
    class Watched:
        def __init__(self) -> None:
            self.inside = threading.Lock()

        def features(self, pixels: Any) -> Any:
            assert self.inside.acquire(blocking=False), "two threads in one lane"
            try:
                together.wait()
            finally:
                self.inside.release()
            return pixels

    together = threading.Barrier(3)
    pool = Lanes([Watched() for _ in range(3)])  # type: ignore[list-item]

    def work(number: int) -> int:
        with pool.taken() as lane:
            lane.features(levels(1))
        return number

    with ThreadPoolExecutor(9) as threads:
        assert list(threads.map(work, range(9))) == list(range(9))


def test_threads_that_share_lanes_get_their_own_features() -> None:
    pool = Lanes([Lane(HostQueue(), compute) for _ in range(2)])

    def work(seed: int) -> np.ndarray:
        with pool.taken() as lane:
            return lane.features(levels(1 + seed % 5, seed))

    with ThreadPoolExecutor(6) as threads:
        for seed, found in enumerate(threads.map(work, range(60))):
            np.testing.assert_array_equal(found, expected(levels(1 + seed % 5, seed)))


def test_one_thread_uses_one_lane_and_a_failure_gives_it_back() -> None:
    queues = [HostQueue(), HostQueue()]
    pool = Lanes([Lane(queue, compute) for queue in queues])
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), pool.taken():
            raise ZeroDivisionError
        with pool.taken() as lane:
            lane.features(levels(2))
    assert sorted(queue.waited for queue in queues) == [0, 3]
