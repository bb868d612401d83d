import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.errors import EmptyRegion
from embeddings_dagster.images.boxes import FORMS, POLYGON, XYWH, XYWH_OR_XYXY, resolve
from embeddings_dagster.images.regions import Box

ANY = st.floats() | st.integers(-(10**400), 10**400) | st.just(10**5000) | st.floats(-2, 2) | st.integers(-50, 300)
SIZES = st.integers(1, 5000)


@pytest.mark.parametrize(
    ("form", "values", "box"),
    [
        (XYWH, (10, 20, 30, 40), (10, 20, 30, 40)),
        (XYWH, (90, 180, 95, 190), (90, 180, 10, 20)),  # never corners
        (XYWH, (-5, -5, 20, 20), (0, 0, 15, 15)),
        (XYWH, (10.4, 20.6, 30.2, 40.2), (10, 21, 31, 40)),
        (XYWH_OR_XYXY, (10, 20, 30, 40), (10, 20, 30, 40)),
        (XYWH_OR_XYXY, (50, 100, 95, 190), (50, 100, 45, 90)),
        (XYWH_OR_XYXY, (0, 0, 100, 200), (0, 0, 100, 200)),  # the same either way
        (XYWH_OR_XYXY, (10, 20, 90.6, 40), (10, 20, 90, 40)),  # half a pixel over the edge is rounding
        (XYWH_OR_XYXY, (60, 20, 45, 40), (60, 20, 40, 40)),  # leaves the page, but is no pair of corners
        (XYWH_OR_XYXY, (60, 20, 300, 40), (60, 20, 40, 40)),  # neither reading fits: the first, cut off
        (XYWH_OR_XYXY, (-20, 20, 60, 40), (0, 20, 40, 40)),
        (POLYGON, (10, 20, 40, 25, 30, 60), (10, 20, 30, 40)),
        (POLYGON, (40, 60, 10, 20), (10, 20, 30, 40)),  # two opposite corners, in any order
    ],
)
def test_the_forms_are_read_as_they_are_found(form: str, values: tuple[float, ...], box: tuple[int, ...]) -> None:
    assert resolve(form, values, 100, 200) == Box(*box)


@pytest.mark.parametrize(
    ("form", "values", "box"),
    [
        (XYWH, (0, 0, 1, 1), (0, 0, 100, 200)),
        (XYWH, (0.1, 0.1, 0.5, 0.25), (10, 20, 50, 50)),
        (XYWH, (-0.05, 0.5, 0.5, 1.1), (0, 100, 45, 100)),
        (XYWH_OR_XYXY, (0.5, 0.5, 0.9, 0.75), (50, 100, 40, 50)),
        (XYWH_OR_XYXY, (0.5, 0.5, 0.5, 0.5), (50, 100, 50, 100)),
        (POLYGON, (0.1, 0.1, 0.6, 0.1, 0.6, 0.6), (10, 20, 50, 100)),
    ],
)
def test_values_of_at_most_1_1_are_fractions_of_the_page(
    form: str, values: tuple[float, ...], box: tuple[int, ...]
) -> None:
    assert resolve(form, values, 100, 200) == Box(*box)


def test_one_value_above_1_1_makes_all_of_them_pixels() -> None:
    assert resolve(XYWH, (0, 0, 1, 1.2), 100, 200) == Box(0, 0, 1, 1)
    assert resolve(XYWH, (-300, 0, 310, 1), 100, 200) == Box(0, 0, 10, 1)


@pytest.mark.parametrize(
    ("form", "values", "reason"),
    [
        (XYWH, (10, 20, 0, 40), r"the box \[10, 20, 0, 40\] \(xywh\) has no area; correct the box"),
        (XYWH, (10, 20, 30, -40), "has no area"),
        (XYWH, (0, 0, 0, 0), "has no area"),
        (XYWH_OR_XYXY, (50, 60, -10, 20), "has no area"),
        (XYWH, (100, 20, 30, 40), "covers nothing of the 100 x 200 pixels"),
        (XYWH, (-31, 20, 30, 40), "covers nothing"),
        (XYWH, (10.6, 20, 0.2, 40), "covers nothing"),
        (XYWH, (math.nan, 20, 30, 40), "not a finite number"),
        (XYWH, (10, 20, math.inf, 40), "not a finite number"),
        (XYWH, (10, 20, 10**400, 40), "not a finite number"),
        (XYWH, (1, 2, 3), "has 3 values, not 4"),
        (XYWH_OR_XYXY, (), "has 0 values, not 4"),
        (POLYGON, (1, 2), "has 2 values: an x and a y"),
        (POLYGON, (1, 2, 3, 4, 5), "has 5 values"),
        (POLYGON, (5, 5, 5, 50, 5, 70), "has no area"),
    ],
)
def test_what_is_no_box_is_refused_with_the_reason(form: str, values: tuple[float, ...], reason: str) -> None:
    with pytest.raises(EmptyRegion, match=reason):
        resolve(form, values, 100, 200)


def test_numbers_beyond_32_bits_are_cut_off_at_the_page() -> None:
    assert resolve(XYWH, (-1e300, -(2**40), 2e300, 2**60), 100, 200) == Box(0, 0, 100, 200)


def test_an_unknown_form_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="'circle' is no form of a box"):
        resolve("circle", (1, 2, 3, 4), 10, 10)


@given(st.sampled_from(FORMS), st.lists(ANY, max_size=9), SIZES, SIZES)
def test_any_values_give_a_box_within_the_page_or_a_reason(
    form: str, values: list[float], width: int, height: int
) -> None:
    try:
        box = resolve(form, values, width, height)
    except EmptyRegion:
        return
    assert box.x >= 0
    assert box.y >= 0
    assert 1 <= box.w <= width - box.x
    assert 1 <= box.h <= height - box.y
    assert all(type(each) is int for each in box)


@given(st.data(), st.integers(2, 3000), st.integers(2, 3000))
def test_whole_pixels_within_the_page_are_kept_to_the_pixel_in_every_form(
    data: st.DataObject, width: int, height: int
) -> None:
    x, y = data.draw(st.integers(0, width - 2)), data.draw(st.integers(0, height - 2))
    box = Box(x, y, data.draw(st.integers(2, width - x)), data.draw(st.integers(2, height - y)))
    assert resolve(XYWH, box, width, height) == box
    assert resolve(XYWH_OR_XYXY, box, width, height) == box
    corners = (box.x, box.y, box.x + box.w, box.y + box.h)
    assert resolve(POLYGON, corners, width, height) == box
    fractions = (x / width, y / height, box.w / width, box.h / height)
    assert resolve(XYWH, fractions, width, height) == box
    if x + corners[2] > width + 1 or y + corners[3] > height + 1:
        assert resolve(XYWH_OR_XYXY, corners, width, height) == box


@given(st.floats(2, 900), st.floats(2, 900), st.floats(1, 90), st.floats(1, 90))
def test_a_box_of_a_pixel_or_more_on_the_page_never_vanishes(x: float, y: float, w: float, h: float) -> None:
    box = resolve(XYWH, (x, y, w, h), 1000, 1000)
    assert abs(box.x - x) <= 0.5
    assert abs(box.w - w) <= 1
