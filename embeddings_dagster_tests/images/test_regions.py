import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.errors import EmptyRegion
from embeddings_dagster.images import Box, clamp, crop
from embeddings_dagster_tests.images.pictures import gradient

SIDES = st.integers(-50, 80)


def test_a_box_is_cut_out() -> None:
    assert np.array_equal(np.asarray(crop(gradient(), Box(3, 2, 5, 4))), np.asarray(gradient())[2:6, 3:8])


def test_no_box_is_the_whole_picture() -> None:
    picture = gradient()
    assert crop(picture, None) is picture


def test_a_box_is_clamped_to_the_picture() -> None:
    assert crop(gradient(), Box(-4, 10, 10, 100)).size == (6, 6)


@pytest.mark.parametrize("box", [Box(24, 0, 5, 5), Box(0, 0, 0, 5), Box(5, 5, -3, 4), Box(-9, 0, 9, 9)])
def test_a_box_with_nothing_in_it_is_refused(box: Box) -> None:
    with pytest.raises(EmptyRegion, match=rf"the box x={box.x} y={box.y} .* covers nothing of the 24 x 16 pixels"):
        crop(gradient(), box)


@given(SIDES, SIDES, SIDES, SIDES)
def test_clamping_keeps_exactly_the_pixels_of_the_box_that_exist(x: int, y: int, w: int, h: int) -> None:
    inside = clamp(Box(x, y, w, h), 24, 16)
    wanted = {(c, r) for c in range(24) for r in range(16) if x <= c < x + w and y <= r < y + h}
    columns, rows = range(inside.x, inside.x + inside.w), range(inside.y, inside.y + inside.h)
    assert {(c, r) for c in columns for r in rows} == wanted
