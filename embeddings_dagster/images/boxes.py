"""From a box as a record writes it to pixels of the upright picture: never outside of it, never empty.

Old records say neither whether they count pixels or fractions nor whether two of their numbers are a size or a corner;
the rules here decide it from the numbers and the picture's size alone, box by box, so that the same record gives the
same box wherever it is read.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from embeddings_dagster.errors import EmptyRegion
from embeddings_dagster.images.regions import Box

XYWH, XYWH_OR_XYXY, POLYGON = "xywh", "xywh_or_xyxy", "polygon"
FORMS = (XYWH, XYWH_OR_XYXY, POLYGON)
LARGEST_FRACTION = 1.1  # boxes of detectors leave the page by a little; no box in pixels is this small throughout
SLACK = 1.0  # pixels: x and w are each rounded by half of one, so their sum may pass the edge by that much


class _Edges(NamedTuple):
    """Left, top, right and bottom, in pixels from the upper left corner, not yet whole ones."""

    left: float
    top: float
    right: float
    bottom: float


def resolve(form: str, values: Sequence[float], width: int, height: int) -> Box:
    """The box that `values` say, within a picture of `width` x `height` pixels; w and h are at least 1.

    `form` is one of `FORMS`, as `RegionRecord` has it. Values are fractions of the picture where none is beyond 1.1
    either way, pixels else. A box that may be `x, y, w, h` or `x1, y1, x2, y2` is the first, unless that leaves the
    picture by more than a pixel and the second is a box within it. What lies outside of the picture is cut off; edges
    go to the nearest edge of a pixel, so that what is less than a pixel wide may vanish.

    Raises:
        EmptyRegion: no pixel is left; the message says why.
        ValueError: `form` is none of the above.
    """
    if form not in FORMS:
        raise ValueError(f"{form!r} is no form of a box; one of {', '.join(FORMS)} is")
    told = f"the box {_told(values)} ({form.replace('_', ' ')})"
    numbers = _finite(form, values, told)
    if all(abs(number) <= LARGEST_FRACTION for number in numbers):
        numbers = [number * (height if at % 2 else width) for at, number in enumerate(numbers)]
    edges = _edges(form, numbers, width, height)
    if edges.right <= edges.left or edges.bottom <= edges.top:
        raise EmptyRegion(f"{told} has no area; {REMEDY}")
    left, right = _pixel(edges.left, width), _pixel(edges.right, width)
    top, bottom = _pixel(edges.top, height), _pixel(edges.bottom, height)
    if right <= left or bottom <= top:
        raise EmptyRegion(f"{told} covers nothing of the {width} x {height} pixels; {REMEDY}")
    return Box(left, top, right - left, bottom - top)


REMEDY = "correct the box in the item's record"


def _told(values: Sequence[float]) -> str:
    return f"[{', '.join(map(_shown, values[:8]))}{', …' if len(values) > 8 else ''}]"


def _shown(value: float) -> str:
    """A number in a few characters; whole numbers of thousands of digits cannot even be printed."""
    if isinstance(value, int):
        return str(value) if abs(value) < 10**12 else "a number of more than 12 digits"
    return f"{value:.6g}"


def _finite(form: str, values: Sequence[float], told: str) -> list[float]:
    if form == POLYGON and (len(values) < 4 or len(values) % 2):
        raise EmptyRegion(f"{told} has {len(values)} values: an x and a y for each of two points or more; {REMEDY}")
    if form != POLYGON and len(values) != 4:
        raise EmptyRegion(f"{told} has {len(values)} values, not 4; {REMEDY}")
    try:
        numbers = [float(value) for value in values]
    except OverflowError:  # an integer beyond all floats
        numbers = [math.inf]
    if not all(map(math.isfinite, numbers)):
        raise EmptyRegion(f"{told} has a value that is not a finite number; {REMEDY}")
    return numbers


def _edges(form: str, numbers: list[float], width: int, height: int) -> _Edges:
    if form == POLYGON:
        across, down = numbers[::2], numbers[1::2]
        return _Edges(min(across), min(down), max(across), max(down))
    x, y, third, fourth = numbers
    by_size = _Edges(x, y, x + third, y + fourth)
    by_corners = _Edges(x, y, third, fourth)
    if form == XYWH_OR_XYXY and not _is_within(by_size, width, height) and _is_within(by_corners, width, height):
        return by_corners if third > x and fourth > y else by_size
    return by_size


def _is_within(edges: _Edges, width: int, height: int) -> bool:
    return (
        edges.left >= -SLACK and edges.top >= -SLACK and edges.right <= width + SLACK and edges.bottom <= height + SLACK
    )


def _pixel(edge: float, size: int) -> int:
    """The edge of a pixel that is nearest to `edge`, within 0…`size`."""
    return math.floor(min(max(edge, 0.0), float(size)) + 0.5)
