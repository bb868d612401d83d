"""What the pipeline reads ahead, and the threads that it leaves behind: none."""

import gc
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from PIL import Image

from embeddings_dagster.encoders import Unit, Vectors, encode_units
from embeddings_dagster.encoders.base import Prepared
from embeddings_dagster.errors import Stopped
from embeddings_dagster_tests.encoders.counting import (
    Counting,
    decode,
    outcome,
    preparing_threads,
    run,
    units,
)
from embeddings_dagster_tests.encoders.tiny import unit


def test_pages_of_thousands_of_regions_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each holds more pixels than may wait: while one is encoded only so many others are there. The first stays in the
    model until there are more, which would be at once, or for a moment."""
    monkeypatch.setattr("embeddings_dagster.encoders.pipeline.AHEAD_BYTES", 10_000)
    alive: set[str] = set()
    piled_up = threading.Event()

    class Paged(Counting):
        def prepare(self, image: Image.Image, unit: Unit) -> Vectors:
            alive.add(unit.image_id)
            if len(alive) > 3:
                piled_up.set()
            return super().prepare(image, unit)

        def encode(self, images: Sequence[Prepared], batch_size: int) -> Vectors:
            piled_up.wait(timeout=0.3)
            alive.difference_update(image.unit.image_id for image in images)
            return super().encode(images, batch_size)

    pages = [unit(f"page {n}", b"7", boxes=(None,) * 5000) for n in range(4)]
    assert [outcome(each) for each in run(Paged(streams=4), pages)] == [7] * 4
    assert not piled_up.is_set()


def test_how_far_is_read_ahead_is_reckoned_with_what_pixels_weigh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embeddings_dagster.encoders.pipeline.AHEAD_BYTES", 120)
    read, ahead = 0, []

    class Levels(Counting):
        def prepare(self, image: Image.Image, unit: Unit) -> Vectors:
            return super().prepare(image, unit).astype(np.uint8)

        def encode(self, images: Sequence[Prepared], batch_size: int) -> Vectors:
            return np.ones((len(images), 2), dtype=np.float32)

    def source() -> Iterator[Unit]:
        nonlocal read
        for each in units(*[b"1"] * 100):
            read += 1
            yield each

    for done, _ in enumerate(encode_units(Levels(), source(), decode, batch_size=1, threads=90)):
        ahead.append(read - done)
    assert max(ahead) >= 120 // 4, "3 bytes of pixels and 1 of the file each, and not 13"


def test_only_so_much_is_read_ahead_as_two_batches_need() -> None:
    read = 0

    def source() -> Iterator[Unit]:
        nonlocal read
        for each in units(*[b"1"] * 200):
            read += 1
            yield each

    for done, _ in enumerate(encode_units(Counting(), source(), decode, batch_size=4, threads=2)):
        assert read <= done + 3 * 4 + 4 + 2 + 1


def test_large_files_bound_how_far_is_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embeddings_dagster.encoders.pipeline.AHEAD_BYTES", 10_000)
    read = 0

    def source() -> Iterator[Unit]:
        nonlocal read
        for n in range(50):
            read += 1
            yield unit(f"image {n}", b"1" + b" " * 4000)

    for done, _ in enumerate(encode_units(Counting(), source(), decode, batch_size=1, threads=30)):
        assert read <= done + 6


def test_a_stop_is_obeyed_within_a_batch_and_leaves_no_thread() -> None:
    stop = threading.Event()
    seen = []

    def consume() -> None:
        for each in encode_units(Counting(), units(*[b"1"] * 100), decode, batch_size=4, threads=2, stop=stop):
            seen.append(each)
            if len(seen) == 5:
                stop.set()

    with pytest.raises(Stopped, match="run again to go on"):
        consume()
    assert len(seen) == 8
    assert preparing_threads() == []


def test_a_stop_set_before_the_start_does_nothing() -> None:
    stop = threading.Event()
    stop.set()
    encoder = Counting()
    with pytest.raises(Stopped):
        list(encode_units(encoder, units(b"1"), decode, batch_size=4, threads=2, stop=stop))
    assert encoder.calls == []


def test_a_consumer_that_stops_early_leaves_no_thread() -> None:
    stream = encode_units(Counting(), units(*[b"1"] * 100), decode, batch_size=4, threads=2)
    next(stream)
    assert preparing_threads() != []
    del stream
    gc.collect()
    assert preparing_threads() == []


def test_pictures_are_decoded_while_the_model_works() -> None:
    """The model waits, in its second batch, for a picture of the third to be decoded: alone it would wait for ever."""
    decoded = threading.Event()

    class Waiting(Counting):
        def encode(self, images: Sequence[Prepared], batch_size: int) -> Vectors:
            if any(3 in image.pixels for image in images):
                assert decoded.wait(timeout=10)
            return super().encode(images, batch_size)

    def watched(data: bytes) -> Image.Image:
        if data == b"5":
            decoded.set()
        return decode(data)

    found = run(Waiting(), units(b"1", b"2", b"3", b"4", b"5", b"6"), batch_size=2, decode=watched)
    assert [outcome(each) for each in found] == [1, 2, 3, 4, 5, 6]


def test_batches_are_encoded_side_by_side_in_threads_that_were_begun_once() -> None:
    """Each of two batches waits, in the model, until the other is there too: one at a time they would wait for ever."""
    together = threading.Barrier(2, timeout=10)

    class Meeting(Counting):
        def encode(self, images: Sequence[Prepared], batch_size: int) -> Vectors:
            together.wait()
            return super().encode(images, batch_size)

    encoder = Meeting(streams=2)
    found = run(encoder, units(*(b"%d" % n for n in range(1, 17))), batch_size=4)
    assert [outcome(each) for each in found] == list(range(1, 17))
    assert len(encoder.begun) == len(set(encoder.begun)) == 2
