"""What comes out of the pipeline: everything once, in order, whatever the batches."""

import time
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embeddings_dagster.encoders import BatchSize, Vectors, encode_units
from embeddings_dagster.encoders.base import Prepared
from embeddings_dagster.encoders.batch_size import START
from embeddings_dagster.encoders.gate import Gate
from embeddings_dagster.images.regions import Box
from embeddings_dagster_tests.encoders.counting import (
    BAD,
    HUGE,
    NAN,
    ODD,
    ZERO,
    Counting,
    decode,
    outcome,
    run,
    units,
)
from embeddings_dagster_tests.encoders.tiny import unit


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


def test_an_image_with_many_regions_is_never_split() -> None:
    given = [unit(f"page {n}", b"%d" % (n + 1), boxes=(None,) * (n + 2)) for n in range(5)]
    encoder = Counting()
    found = run(encoder, given, batch_size=4)
    assert [each.vectors.shape for each in found if each.vectors is not None] == [(n + 2, 2) for n in range(5)]
    assert [regions for regions, _ in encoder.calls] == [5, 4, 5, 6]


def test_nothing_in_gives_nothing_out() -> None:
    assert run(Counting(), []) == []
    assert [outcome(each) for each in run(Counting(), units(BAD))] == ["DecodeFailed"]


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


def test_a_picture_may_be_reduced_only_where_no_region_is_cut_out_of_it() -> None:
    asked = []

    def reducing(data: bytes, *, at_least: int = 0) -> Image.Image:
        asked.append(at_least)
        return decode(data)

    box = Box(0, 0, 1, 1)
    given = [unit("whole", b"1"), unit("page", b"2", boxes=(None, box))]
    run(Counting(enough=448), given, decode=reducing)
    assert sorted(asked) == [0, 448]


def test_batches_grow_under_a_precision_that_was_given_up_too() -> None:
    class Wrong(Counting):
        def encode(self, images: Sequence[Prepared], batch_size: int) -> Vectors:
            return -super().encode(images, batch_size)

    encoder, exact = Wrong(precision="bf16"), Counting()
    encoder.gate = Gate(encoder, lambda: exact, 0.99)
    found = list(encode_units(encoder, units(*[b"7"] * 200), decode, batch_size="auto", threads=2))
    assert [outcome(each) for each in found] == [7] * 200
    assert {each.precision for each in found} == {"fp32"}
    assert max(size for _, size in exact.calls) > START


def test_a_size_that_was_found_before_is_where_the_next_batch_of_work_begins() -> None:
    size = BatchSize.of("auto", device="cpu")
    first, later = Counting(), Counting()
    for encoder in (first, later):
        list(encode_units(encoder, units(*[b"7"] * 200), decode, batch_size=size, threads=2))
    assert first.calls[0] == (8, 8)
    assert later.calls[0][1] == first.calls[-1][1]
