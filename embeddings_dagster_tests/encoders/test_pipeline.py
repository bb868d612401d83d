import gc
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embeddings_dagster.encoders import Encoded, Unit, Vectors, encode_image, encode_units
from embeddings_dagster.encoders.base import Prepared
from embeddings_dagster.encoders.work import is_out_of_memory
from embeddings_dagster.errors import (
    DecodeFailed,
    DecoderUnavailable,
    EncodeFailed,
    ItemError,
    NotFinite,
    OutOfMemory,
    Stopped,
)
from embeddings_dagster.images.regions import Box
from embeddings_dagster_tests.encoders.tiny import unit

NAN, ZERO, BAD, ODD, HUGE = b"nan", b"zero", b"bad", b"odd", b"huge"


@dataclass
class Counting:
    """An encoder that turns a picture's grey level g into (g, 1); with `memory` for so many regions at once."""

    memory: int = 10**9
    whole_image: bool = False
    streams: int = 1
    enough: int = 0
    max_regions: int | None = None
    device: str = "cpu"
    precision: str = "fp32"
    gate: None = None
    calls: list[tuple[int, int]] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    name: str = "counting"
    dimension: int = 2
    image_size: tuple[int, int] = (1, 1)
    normalised: bool = False
    has_text: bool = False

    def prepare(self, image: Image.Image, unit: Unit) -> Vectors:
        return np.full((len(unit.regions), 3, 1, 1), np.asarray(image)[0, 0, 0], dtype=np.float32)

    def begin_stream(self) -> None:
        self.begun.append(threading.current_thread().name)

    def encode(self, images: Sequence[Prepared], batch_size: int) -> Vectors:
        pixels = np.concatenate([image.pixels for image in images])
        self.calls.append((len(pixels), batch_size))
        at_once = min(len(pixels), batch_size)
        if at_once > self.memory or 255 in pixels:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
        grey = pixels[:, 0, 0, 0]
        vectors = np.stack([grey, np.ones_like(grey)], axis=1)
        vectors[grey == 254] = np.nan
        vectors[grey == 253] = 0
        return vectors

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        raise NotImplementedError

    def encode_long_text(self, texts: Sequence[str]) -> Vectors:
        raise NotImplementedError

    def close(self) -> None:
        return None


SPECIAL = {HUGE: 255, NAN: 254, ZERO: 253}


def decode(data: bytes, *, at_least: int = 0) -> Image.Image:
    if data == BAD:
        raise DecodeFailed("truncated")
    if data == ODD:
        raise KeyError("a bug of some library")
    return Image.new("RGB", (1, 1), (SPECIAL.get(data) or int(data),) * 3)


def units(*data: bytes) -> list[Unit]:
    return [unit(f"image {n}", each) for n, each in enumerate(data)]


def run(
    encoder: Counting, given: Iterable[Unit], *, batch_size: int = 4, decode: Callable[[bytes], Image.Image] = decode
) -> list[Encoded]:
    return list(encode_units(encoder, given, decode, batch_size=batch_size, threads=3))


def outcome(encoded: Encoded) -> object:
    if encoded.error is not None:
        assert encoded.vectors is None
        return type(encoded.error).__name__
    assert encoded.vectors is not None
    return int(encoded.vectors[0, 0])


def preparing_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("prepare", "encode"))]


def test_order_is_kept_however_long_decoding_takes() -> None:
    def slowly(data: bytes) -> Image.Image:
        time.sleep(0.01 if int(data) % 3 == 0 else 0)
        return decode(data)

    found = run(Counting(), units(*(b"%d" % n for n in range(1, 31))), decode=slowly)
    assert [outcome(each) for each in found] == list(range(1, 31))
    assert [each.unit.image_id for each in found] == [f"image {n}" for n in range(30)]


def test_results_do_not_hold_on_to_the_bytes() -> None:
    (found,) = run(Counting(), units(b"7"))
    assert found.unit.data == b""
    assert found.unit.regions == units(b"7")[0].regions


def test_what_is_wrong_with_an_image_costs_that_image_alone() -> None:
    found = run(Counting(), units(b"1", BAD, b"2", NAN, b"3", ODD, b"4", ZERO, b"5"))
    assert [outcome(each) for each in found] == [
        *(1, "DecodeFailed", 2, "NotFinite", 3, "PrepareFailed", 4, "NotFinite", 5)
    ]
    assert str(found[1].error) == "truncated"
    assert str(found[5].error) == "cannot be made ready for the model (KeyError: 'a bug of some library')"


def test_memory_that_runs_out_while_decoding_costs_that_image_alone() -> None:
    def hungry(data: bytes) -> Image.Image:
        if data == b"9":
            raise MemoryError
        return decode(data)

    found = run(Counting(), units(b"1", b"9", b"2"), decode=hungry)
    assert [outcome(each) for each in found] == [1, "OutOfMemory", 2]
    assert found[1].error is not None
    assert found[1].error.retryable


def test_out_of_memory_halves_the_batch_and_it_stays_so() -> None:
    encoder = Counting(memory=3)
    found = run(encoder, units(*(b"%d" % n for n in range(1, 25))), batch_size=12)
    assert [outcome(each) for each in found] == list(range(1, 25))
    assert encoder.calls[:3] == [(12, 12), (12, 6), (12, 3)]
    assert {size for _, size in encoder.calls[3:]} == {3}


def test_an_image_too_large_even_alone_fails_alone() -> None:
    encoder = Counting()
    found = run(encoder, units(b"1", b"2", HUGE, b"4", b"5", b"6"))
    assert [outcome(each) for each in found] == [1, 2, "OutOfMemory", 4, 5, 6]
    assert encoder.calls[:7] == [(4, 4), (4, 2), (4, 1), (1, 1), (1, 1), (1, 1), (1, 1)]
    assert found[2].error is not None
    assert found[2].error.retryable


def test_any_other_failure_of_the_model_stops_the_work_and_says_of_what() -> None:
    class Broken(Counting):
        def encode(self, images: Sequence[Prepared], batch_size: int) -> Vectors:
            raise RuntimeError("device-side assert triggered")

    message = r"'counting' failed on a batch of 2 images \(RuntimeError: device-side assert triggered\)"
    with pytest.raises(EncodeFailed, match=message):
        run(Broken(), units(b"1", b"2"))
    assert preparing_threads() == []


def test_an_image_with_many_regions_is_never_split() -> None:
    given = [unit(f"page {n}", b"%d" % (n + 1), boxes=(None,) * (n + 2)) for n in range(5)]
    encoder = Counting()
    found = run(encoder, given, batch_size=4)
    assert [each.vectors.shape for each in found if each.vectors is not None] == [(n + 2, 2) for n in range(5)]
    assert [regions for regions, _ in encoder.calls] == [5, 4, 5, 6]


def test_nothing_in_gives_nothing_out() -> None:
    assert run(Counting(), []) == []
    assert [outcome(each) for each in run(Counting(), units(BAD))] == ["DecodeFailed"]


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


def test_an_error_of_the_source_comes_through_and_leaves_no_thread() -> None:
    def source() -> Iterator[Unit]:
        yield from units(*[b"1"] * 20)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(encode_units(Counting(), source(), decode, batch_size=4, threads=2))
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


@settings(max_examples=60, deadline=None)
@given(
    kinds=st.lists(st.sampled_from([b"1", b"20", b"77", BAD, NAN, ZERO, ODD, HUGE]), max_size=25),
    batch_size=st.integers(1, 9),
    memory=st.integers(1, 9),
    streams=st.integers(1, 4),
)
def test_batches_streams_and_memory_change_no_result(
    kinds: list[bytes], batch_size: int, memory: int, streams: int
) -> None:
    given = units(*kinds)
    encoder = Counting(memory=memory, streams=streams)
    together = [outcome(each) for each in run(encoder, given, batch_size=batch_size)]
    alone = [outcome(each) for one in given for each in run(Counting(), [one], batch_size=1)]
    assert together == alone


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


def test_regions_beyond_what_the_model_takes_fail_alone() -> None:
    page = unit("page", b"7", boxes=(None,) * 5)
    (found,) = run(Counting(max_regions=3), [page])
    assert found.vectors is not None
    assert found.vectors.shape == (3, 2)
    assert [region.region for region in found.unit.regions] == [0, 1, 2]
    assert {region: type(error).__name__ for region, error in found.left_out.items()} == {
        3: "TooManyRegions",
        4: "TooManyRegions",
    }


def test_a_picture_may_be_reduced_only_where_no_region_is_cut_out_of_it() -> None:
    asked = []

    def reducing(data: bytes, *, at_least: int = 0) -> Image.Image:
        asked.append(at_least)
        return decode(data)

    box = Box(0, 0, 1, 1)
    given = [unit("whole", b"1"), unit("page", b"2", boxes=(None, box))]
    run(Counting(enough=448), given, decode=reducing)
    assert sorted(asked) == [0, 448]


def test_a_decoder_that_cannot_be_started_is_no_pictures_fault() -> None:
    def unavailable(data: bytes, *, at_least: int = 0) -> Image.Image:
        raise DecoderUnavailable("no process can be started")

    with pytest.raises(DecoderUnavailable):
        run(Counting(), units(b"1", b"2"), decode=unavailable)
    assert preparing_threads() == []


def test_one_picture_of_a_query_is_encoded_or_says_why_not() -> None:
    assert encode_image(Counting(), decode(b"7")).tolist() == [7, 1]
    with pytest.raises(NotFinite, match="zero or not finite"):
        encode_image(Counting(), decode(NAN))
    with pytest.raises(OutOfMemory):
        encode_image(Counting(), decode(HUGE))


def test_torch_and_python_out_of_memory_are_known_and_other_errors_are_not() -> None:
    import torch

    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(refused.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_errors_of_items_are_item_errors() -> None:
    found = run(Counting(), units(BAD, NAN, ODD, HUGE))
    assert all(isinstance(each.error, ItemError) for each in found)
