"""The batch grows while that makes the model faster, and never after memory was short."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.encoders.batch_size import GROWTH, MOST_ON_CPU, MOST_ON_GPU, START, TRIES, BatchSize

RATES = st.floats(0.01, 1e6)


def report(size: BatchSize, rate: float, times: int = TRIES) -> None:
    """Full batches of the size in force, at `rate` pictures per second."""
    for _ in range(times):
        size.measured(size.current, size.current / rate)


@pytest.mark.parametrize("said", [1, 7, 4096])
def test_a_number_stays_that_number_however_fast_it_is(said: int) -> None:
    size = BatchSize.of(said, device="cuda:0")
    for rate in (1, 10, 100):
        report(size, rate)
    assert size.current == said


@pytest.mark.parametrize(("device", "most"), [("cpu", MOST_ON_CPU), ("cuda:1", MOST_ON_GPU), ("mps", MOST_ON_GPU)])
def test_auto_doubles_up_to_the_cap_of_its_device_while_twice_the_batch_is_worth_it(device: str, most: int) -> None:
    size, seen = BatchSize.of("auto", device=device), []
    for step in range(20):
        seen.append(size.current)
        report(size, 1.06**step)
    assert list(dict.fromkeys(seen)) == [START * 2**step for step in range((most // START).bit_length())]
    assert size.current == most


def test_auto_goes_back_to_the_size_before_when_twice_as_many_are_hardly_faster() -> None:
    size = BatchSize.of("auto", device="cpu")
    report(size, 100)
    report(size, 110)
    assert size.current == 32
    report(size, 110 * GROWTH - 0.1)
    assert size.current == 16
    report(size, 1000)
    assert size.current == 16


def test_of_each_size_the_best_of_three_counts() -> None:
    size = BatchSize.of("auto", device="cpu")
    report(size, 100)
    for rate in (1, 120, 2):
        assert size.current == 16
        report(size, rate, times=1)
    assert size.current == 32


def test_a_batch_that_was_not_full_says_nothing_of_its_size() -> None:
    size = BatchSize.of("auto", device="cpu")
    for _ in range(10):
        size.measured(START - 1, 0.001)
        size.measured(START, 0.0)
    assert size.current == START


def test_memory_that_was_short_halves_the_size_for_good() -> None:
    size = BatchSize.of("auto", device="cpu")
    assert size.shrink(START)
    report(size, 1)
    report(size, 100)
    assert size.current == START // 2


def test_threads_that_fail_at_one_size_halve_it_once() -> None:
    size = BatchSize.of(32, device="cpu")
    assert size.shrink(32)
    assert size.shrink(32)
    assert size.current == 16


def test_a_batch_of_one_is_as_small_as_it_gets() -> None:
    size = BatchSize.of(1, device="cpu")
    assert not size.shrink(1)
    assert size.current == 1


def test_one_that_failed_alone_does_not_shrink_the_others() -> None:
    size = BatchSize.of(8, device="cpu")
    assert not size.shrink(1)
    assert size.current == 8


@given(st.sampled_from(["cpu", "cuda:0"]), st.lists(st.tuples(st.booleans(), RATES), max_size=80))
def test_whatever_is_reported_the_size_is_sound(device: str, reports: list[tuple[bool, float]]) -> None:
    size, shrunk = BatchSize.of("auto", device=device), False
    for memory_short, rate in reports:
        before = size.current
        if memory_short:
            assert size.shrink(before) == (before > 1)
            assert size.current == max(1, before // 2)
            shrunk = shrunk or before > 1
        else:
            report(size, rate, times=1)
            assert size.current in ({before} if shrunk else {before // 2, before, before * 2})
        assert 1 <= size.current <= (MOST_ON_CPU if device == "cpu" else MOST_ON_GPU)


@given(st.integers(1, 4096))
def test_shrinking_ends_at_one(start: int) -> None:
    size, sizes = BatchSize.of(start, device="cpu"), [start]
    while size.shrink(size.current):
        sizes.append(size.current)
    assert sizes == [start >> step for step in range(start.bit_length())]


def test_many_threads_may_report_and_fail_at_once() -> None:
    size = BatchSize.of("auto", device="cuda:0")
    ready = threading.Barrier(8)

    def work(number: int) -> None:
        ready.wait()
        for step in range(200):
            if number == 0 and step == 100:
                size.shrink(size.current)
            report(size, 1 + step, times=1)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert size.current in {START * 2**step >> 1 for step in range(9)}
