"""What goes wrong, and whom it costs: an image, a region, or the run."""

from collections.abc import Iterator, Sequence

import pytest
from PIL import Image

from embeddings_dagster.encoders import Unit, Vectors, encode_image, encode_units
from embeddings_dagster.encoders.base import Prepared
from embeddings_dagster.encoders.work import is_out_of_memory
from embeddings_dagster.errors import (
    DecoderUnavailable,
    EncodeFailed,
    ItemError,
    ModelError,
    NotFinite,
    OutOfMemory,
)
from embeddings_dagster_tests.encoders.counting import (
    BAD,
    HUGE,
    NAN,
    ODD,
    ZERO,
    Counting,
    decode,
    outcome,
    preparing_threads,
    run,
    units,
)
from embeddings_dagster_tests.encoders.tiny import unit


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

    message = r"'counting' failed on a batch of 2 images, 'image 0' to 'image 1' \(RuntimeError: device-side assert"
    with pytest.raises(EncodeFailed, match=message):
        run(Broken(), units(b"1", b"2"))
    assert preparing_threads() == []


def test_an_image_that_the_model_fails_on_fails_alone() -> None:
    class Picky(Counting):
        def encode(self, images: Sequence[Prepared], batch_size: int) -> Vectors:
            if any(13 in image.pixels for image in images):
                raise ValueError("no such panel")
            return super().encode(images, batch_size)

    for streams in (1, 3):
        found = run(Picky(streams=streams), units(b"1", b"2", b"13", b"4", b"5", b"6", b"13"))
        assert [outcome(each) for each in found] == [1, 2, "Unencodable", 4, 5, 6, "Unencodable"]
        assert str(found[2].error) == (
            "the model fails on this image, and not on those beside it (the model 'counting' failed on image 'image 2' "
            "(ValueError: no such panel); what has no vector yet is tried again by the next run)"
        )


def test_a_region_without_a_sound_vector_fails_alone_where_regions_are_alone() -> None:
    class Odd(Counting):
        def prepare(self, image: Image.Image, unit: Unit) -> Vectors:
            pixels = super().prepare(image, unit)
            pixels[1] = 254
            return pixels

    page = unit("page", b"7", boxes=(None,) * 3)
    (found,) = run(Odd(), [page])
    assert found.vectors is not None
    assert found.vectors.tolist() == [[7, 1], [7, 1]]
    assert [region.region for region in found.unit.regions] == [0, 2]
    assert {region: type(error).__name__ for region, error in found.left_out.items()} == {1: "NotFinite"}
    (together,) = run(Odd(whole_image=True), [page])
    assert (outcome(together), len(together.unit.regions), together.left_out) == ("NotFinite", 3, {})


def test_a_model_that_was_closed_says_so() -> None:
    class Closed(Counting):
        def begin_stream(self) -> None:
            raise ModelError("the model has been closed; load it again")

    with pytest.raises(ModelError, match="has been closed"):
        run(Closed(streams=2), units(b"1", b"2"))
    assert preparing_threads() == []


def test_a_failure_in_one_stream_comes_after_what_came_before_it_and_leaves_no_thread() -> None:
    class Failing(Counting):
        def encode(self, images: Sequence[Prepared], batch_size: int) -> Vectors:
            if any(9 in image.pixels for image in images):
                raise RuntimeError("device-side assert triggered")
            return super().encode(images, batch_size)

    given = units(*(b"%d" % n for n in range(1, 30)))
    found = encode_units(Failing(streams=3), given, decode, batch_size=1, threads=2)
    assert [outcome(next(found)) for _ in range(8)] == list(range(1, 9))
    with pytest.raises(EncodeFailed, match="on image 'image 8'"):
        next(found)
    assert preparing_threads() == []


def test_an_error_of_the_source_comes_through_and_leaves_no_thread() -> None:
    def source() -> Iterator[Unit]:
        yield from units(*[b"1"] * 20)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(encode_units(Counting(), source(), decode, batch_size=4, threads=2))
    assert preparing_threads() == []


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
