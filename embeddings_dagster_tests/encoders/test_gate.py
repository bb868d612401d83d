"""What becomes of images whose vectors in a lower precision are those of float32, or are not."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.encoders.base import Prepared, Vectors
from embeddings_dagster.encoders.gate import CHECKED, MAY_FAIL, Gate, least_cosine
from embeddings_dagster.errors import ModelError
from embeddings_dagster_tests.encoders import tiny

D = 8


class Exact:
    """An encoder whose vectors are told by the first pixel of each region: the number of the direction they show."""

    name, precision = "numbers", "fp32"

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.closed = False
        self.fails: Exception | None = None

    def encode(self, images: Sequence[Prepared], batch_size: int) -> Vectors:
        if self.fails is not None:
            raise self.fails
        if self.closed:
            raise ModelError("closed")
        self.calls.append([image.unit.image_id for image in images])
        return np.concatenate([self.vectors(image) for image in images])

    def close(self) -> None:
        self.closed = True

    def vectors(self, image: Prepared) -> Vectors:
        return np.eye(D, dtype=np.float32)[image.pixels[:, 0, 0, 0] % D]


class Rounded(Exact):
    """The same in bf16: images whose name says `bad` show another way."""

    precision = "bf16"

    def vectors(self, image: Prepared) -> Vectors:
        right = super().vectors(image)
        return -right if "bad" in image.unit.image_id else right


class Bench:
    """A gate between the two, and what it loads."""

    def __init__(self, encoder: Exact | None = None) -> None:
        self.encoder = encoder or Rounded()
        self.loaded: list[Exact] = []
        self.gate = Gate(self.encoder, self._load, 0.99)  # type: ignore[arg-type]

    def _load(self) -> Exact:
        self.loaded.append(Exact())
        return self.loaded[-1]


def image(number: int, kind: str = "good", regions: int = 1) -> Prepared:
    pixels = np.zeros((regions, 2, 2, 3), dtype=np.uint8)
    pixels[:, 0, 0, 0] = np.arange(number, number + regions) % 256
    return Prepared(tiny.unit(f"{kind}/{number}", boxes=(None,) * regions), pixels)


def is_right(found: tuple[Vectors, str], prepared: Prepared) -> bool:
    return np.array_equal(found[0], Exact().vectors(prepared))


def test_nothing_is_loaded_before_the_first_image() -> None:
    bench = Bench()
    assert bench.gate.encode([], 8) == []
    assert not bench.loaded
    assert not bench.gate.settled


def test_after_the_first_images_have_passed_the_reference_is_closed_and_the_gate_settled() -> None:
    bench = Bench()
    images = [image(n) for n in range(CHECKED - 1)]
    found = bench.gate.encode(images, 8)
    assert all(precision == "bf16" for _, precision in found)
    assert not bench.gate.settled
    assert not bench.loaded[0].closed
    bench.gate.encode([image(99), image(100)], 8)
    assert bench.gate.settled
    assert bench.loaded[0].closed
    assert sum(map(len, bench.loaded[0].calls)) == CHECKED
    assert len(bench.loaded) == 1


def test_fewer_images_than_are_to_be_checked_are_all_checked() -> None:
    bench = Bench()
    images = [image(n, "bad" if n == 3 else "good") for n in range(10)]
    found = bench.gate.encode(images, 4)
    assert [precision for _, precision in found] == ["bf16"] * 3 + ["fp32"] + ["bf16"] * 6
    assert all(is_right(*pair) for pair in zip(found, images, strict=True))
    assert not bench.gate.settled


def test_images_that_fail_get_the_vectors_of_float32_and_nothing_shifts(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    images = [image(n, "bad" if n in (0, 17) else "good") for n in range(40)]
    with caplog.at_level(logging.INFO):
        found = bench.gate.encode(images, 8)
    assert all(is_right(*pair) for pair in zip(found, images, strict=True))
    assert [n for n, (_, precision) in enumerate(found) if precision == "fp32"] == [0, 17]
    assert bench.gate.settled
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert "2 of the first 32 images were encoded in float32" in record.getMessage()


def test_when_too_many_fail_all_that_follow_are_encoded_in_float32(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    images = [image(n, "bad" if n % 4 == 0 else "good") for n in range(50)]
    found = [each for start in range(0, 50, 6) for each in bench.gate.encode(images[start : start + 6], 8)]
    assert all(is_right(*pair) for pair in zip(found, images, strict=True))
    third = 4 * MAY_FAIL  # the failure that is one too many; the batch it lies in is the last that is checked
    last_checked = (third // 6 + 1) * 6
    assert {precision for _, precision in found[last_checked:]} == {"fp32"}
    assert found[1][1] == "bf16"
    assert not bench.gate.settled
    assert not bench.loaded[0].closed
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    for said in ("numbers in bf16", "3 have a cosine below 0.99", "least -1.00000", "takes longer", "`precision`"):
        assert said in record.getMessage()
    bench.gate.close()
    assert bench.loaded[0].closed


def test_of_int8_it_is_said_that_it_can_be_calibrated_anew(caplog: pytest.LogCaptureFixture) -> None:
    encoder = Rounded()
    encoder.precision = "int8"
    Bench(encoder).gate.encode([image(n, "bad") for n in range(4)], 8)
    assert "raise `calibration`" in caplog.text


def test_one_region_that_is_off_sends_the_whole_image_back() -> None:
    class Partly(Rounded):
        def vectors(self, image: Prepared) -> Vectors:
            right = Exact.vectors(self, image)
            right[1:2] *= -1
            return right

    bench = Bench(Partly())
    images = [image(0, regions=3), image(5), image(9, regions=2)]
    found = bench.gate.encode(images, 2)
    assert [vectors.shape for vectors, _ in found] == [(3, D), (1, D), (2, D)]
    assert [precision for _, precision in found] == ["fp32", "bf16", "fp32"]
    assert all(is_right(*pair) for pair in zip(found, images, strict=True))


def test_threads_check_no_image_twice_and_load_one_reference() -> None:
    bench = Bench()
    images = [image(n, "bad" if n == 7 else "good") for n in range(200)]
    start = threading.Barrier(4)

    def encode(first: int) -> list[tuple[Vectors, str]]:
        start.wait()
        return [each for at in range(first, first + 50, 5) for each in bench.gate.encode(images[at : at + 5], 8)]

    with ThreadPoolExecutor(4) as pool:
        found = [each for part in pool.map(encode, range(0, 200, 50)) for each in part]
    good = [n for n in range(200) if n != 7]  # whether the bad one was among those checked is chance
    assert all(is_right(found[n], images[n]) for n in good)
    assert len(bench.loaded) == 1
    assert sum(map(len, bench.loaded[0].calls)) == CHECKED
    assert bench.gate.settled


@pytest.mark.parametrize("who", ["encoder", "reference"])
def test_an_error_leaves_the_check_where_it_was(who: str) -> None:
    bench = Bench()
    bench.gate.encode([image(0)], 8)
    failing = bench.encoder if who == "encoder" else bench.loaded[0]
    failing.fails = MemoryError("little")
    with pytest.raises(MemoryError, match="little"):
        bench.gate.encode([image(n) for n in range(1, 20)], 8)
    failing.fails = None
    bench.gate.encode([image(n) for n in range(1, CHECKED - 1)], 8)
    assert not bench.gate.settled
    bench.gate.encode([image(CHECKED - 1)], 8)
    assert bench.gate.settled


def test_a_reference_that_cannot_be_loaded_is_tried_again() -> None:
    tries = []

    def load() -> Exact:
        tries.append(1)
        if len(tries) == 1:
            raise ModelError("no such file")
        return Exact()

    gate = Gate(Rounded(), load, 0.99)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="no such file"):
        gate.encode([image(0)], 8)
    assert [precision for _, precision in gate.encode([image(0)], 8)] == ["bf16"]


def test_a_gate_that_was_closed_encodes_no_more() -> None:
    bench = Bench()
    bench.gate.encode([image(0)], 8)
    bench.gate.close()
    bench.gate.close()
    assert bench.loaded[0].closed
    with pytest.raises(ModelError, match="closed; load it again"):
        bench.gate.encode([image(1)], 8)
    assert all(each.closed for each in bench.loaded)


def test_closing_does_not_wait_for_a_reference_that_is_being_loaded() -> None:
    loading, go_on = threading.Event(), threading.Event()
    loaded = Exact()

    def load() -> Exact:
        loading.set()
        assert go_on.wait(30)
        return loaded

    gate = Gate(Rounded(), load, 0.99)  # type: ignore[arg-type]
    with ThreadPoolExecutor(1) as pool:
        checked = pool.submit(gate.encode, [image(0)], 8)
        assert loading.wait(30)
        gate.close()
        go_on.set()
        with pytest.raises(ModelError, match="has been closed"):
            checked.result(30)
    assert loaded.closed


class TestLeastCosine:
    def test_what_is_not_finite_fails(self) -> None:
        exact = np.ones((2, 3), dtype=np.float32)
        for wrong in (np.nan, np.inf, -np.inf, 0.0):
            vectors = exact.copy()
            vectors[1] = wrong
            assert least_cosine(vectors, exact) == -1.0

    def test_a_picture_that_has_no_vector_in_float32_either_says_nothing(self) -> None:
        for wrong in (np.nan, 0.0):
            exact = np.full((1, 3), wrong, dtype=np.float32)
            assert least_cosine(exact, exact) == 1.0
            assert least_cosine(np.ones((1, 3), dtype=np.float32), exact) == 1.0

    @given(st.integers(0, 2**31), st.integers(1, 5), st.floats(1e-3, 1e3))
    def test_the_length_of_a_vector_does_not_count(self, seed: int, rows: int, scale: float) -> None:
        rng = np.random.default_rng(seed)
        exact = rng.standard_normal((rows, 16)).astype(np.float32)
        vectors = (exact + 0.1 * rng.standard_normal((rows, 16))).astype(np.float32)
        least = tiny.cosines(vectors, exact).min()
        assert least_cosine((vectors * np.float32(scale)), exact) == pytest.approx(least, abs=1e-6)
