"""A thread of ours computes with its own number of torch threads; those before and after it keep theirs."""

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from embeddings_dagster.encoders import torch_threads
from embeddings_dagster.encoders.torch_threads import can_differ, usable_threads, use_threads

pytestmark = pytest.mark.skipif(not can_differ(), reason="this torch keeps one number for all threads")


def numbers() -> set[int]:
    """What torch, OpenMP and (where there is one) MKL say of the thread that asks."""
    said = re.findall(
        r"(?:at::get_num_threads|omp_get_max_threads|mkl_get_max_threads)\(\) : (\d+)", torch.__config__.parallel_info()
    )
    assert len(said) >= 2
    return {int(each) for each in said} | {torch.get_num_threads()}


@pytest.fixture(autouse=True)
def _three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def in_a_new_thread(work: Callable[[], set[int]]) -> set[int]:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def stream(count: int) -> set[int]:
    use_threads(count)
    for _ in range(2):  # by MKL, and by torch's own loops, each of which starts by asking for its number
        torch.ones(300, 300) @ torch.ones(300, 300)
        torch.ones(400_000).exp()
    return numbers()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_thread_itself_has_the_number_and_no_other(count: int) -> None:
    with ThreadPoolExecutor(1) as earlier:
        assert earlier.submit(numbers).result() == {3}
        assert in_a_new_thread(lambda: stream(count)) == {count}
        assert earlier.submit(numbers).result() == {3}
    assert numbers() == {3}
    assert in_a_new_thread(numbers) == {3}


def test_many_that_begin_at_once_leave_nothing_behind() -> None:
    together = threading.Barrier(8)

    def begin() -> set[int]:
        together.wait()
        return stream(1)

    with ThreadPoolExecutor(8) as pool:
        assert [each.result() for each in [pool.submit(begin) for _ in range(8)]] == [{1}] * 8
    assert in_a_new_thread(numbers) == {3}
    assert numbers() == {3}


def test_a_number_that_is_set_later_counts_for_new_threads_and_stays_after_a_stream() -> None:
    torch.set_num_threads(2)
    assert in_a_new_thread(lambda: stream(1)) == {1}
    assert in_a_new_thread(numbers) == {2}
    assert numbers() == {2}


def test_no_more_threads_are_usable_than_torch_uses_or_cores_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_threads, "usable_cores", lambda: 2)
    assert usable_threads() == 2
    torch.set_num_threads(1)
    assert usable_threads() == 1
