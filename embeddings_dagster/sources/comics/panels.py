"""A panel of a page spec: its box, in any of the ways that specs write one, and its lines.

A panel that has no usable box keeps its number and its text, and says what is wrong with it: no other panel moves.
"""

import math
from collections.abc import Mapping

from embeddings_dagster.sources.base import RegionRecord
from embeddings_dagster.sources.comics.text import Lines, read_lines
from embeddings_dagster.sources.lenient_json import lowered

XYWH, XYWH_OR_XYXY, POLYGON = "xywh", "xywh_or_xyxy", "polygon"  # as `RegionRecord.form`
BOX_KEYS = (
    ("panel_coords", XYWH),
    ("bbox", XYWH_OR_XYXY),
    ("box", XYWH_OR_XYXY),
    ("rect", XYWH_OR_XYXY),
    ("polygon", POLYGON),
    ("segmentation", POLYGON),
)
SIZED = (("x", "y", "w", "h"), ("x", "y", "width", "height"), ("left", "top", "width", "height"))
CORNERS = (
    ("x1", "y1", "x2", "y2"),
    ("x0", "y0", "x1", "y1"),
    ("left", "top", "right", "bottom"),
    ("xmin", "ymin", "xmax", "ymax"),
)
MOST_VALUES = 10_000  # of a polygon; one of more is no panel's outline

Shape = tuple[str, tuple[float, ...]]  # form and values, as `RegionRecord` has them


class NoBox(ValueError):
    """Why a panel has no box."""


def read_panel(number: int, panel: object, spec: str) -> tuple[RegionRecord, Lines]:
    """Panel `number` (from 1) of the page spec that messages call `spec`."""
    lines = _lines(panel)
    try:
        form, values = _box(panel)
    except NoBox as reason:
        fault = f"panel {number} of {spec}: {reason}; give it panel_coords [x, y, width, height]"
        return RegionRecord(number, text=lines.text(), fault=fault), lines
    return RegionRecord(number, form, values, lines.text()), lines


def _lines(panel: object) -> Lines:
    if isinstance(panel, dict):
        return read_lines(panel)
    return read_lines({"text": panel}) if isinstance(panel, str) else Lines()


def _box(panel: object) -> Shape:
    if isinstance(panel, list):
        return _shape(panel, XYWH_OR_XYXY)
    if not isinstance(panel, dict):
        raise NoBox(f"it is {_kind(panel)}, not an object")
    keys = lowered(panel)
    first: NoBox | None = None
    for key, form in BOX_KEYS:
        value = keys.get(key)
        if value is None or value == []:
            continue
        try:
            return _shape(value, form)
        except NoBox as reason:
            first = first or NoBox(f"its {key} {reason}")
    shape = _named(keys)
    if shape is None:
        raise first or NoBox("it has no box")
    return shape


def _shape(value: object, form: str) -> Shape:
    if isinstance(value, dict):
        shape = _named(lowered(value))
        if shape is None:
            raise NoBox("is an object without x, y, w, h or x1, y1, x2, y2")
        return shape
    if not isinstance(value, list):
        raise NoBox(f"is {_kind(value)}, not a list of numbers")
    if len(value) == 1 and isinstance(value[0], list):
        return _shape(value[0], form)
    nested = any(isinstance(each, list | dict) for each in value)
    numbers = _flat(value) if nested else _numbers(value)
    if nested or form == POLYGON or (form == XYWH_OR_XYXY and len(numbers) > 4):
        if len(numbers) < 4 or len(numbers) % 2 or len(numbers) > MOST_VALUES:
            raise NoBox(f"has {len(numbers)} values, and is no outline of two points or more")
        return POLYGON, numbers
    if len(numbers) != 4:
        raise NoBox(f"has {len(numbers)} values, not 4")
    return form, numbers


def _named(keys: Mapping[str, object]) -> Shape | None:
    """A box whose numbers have names. Two corners are an outline, too: that of the box between them."""
    for names, form in (*((each, XYWH) for each in SIZED), *((each, POLYGON) for each in CORNERS)):
        values = [keys.get(name) for name in names]
        if None not in values:
            return form, _numbers(values)
    return None


def _flat(value: list[object]) -> tuple[float, ...]:
    """The numbers of a list of points, or of a list of such lists."""
    out: list[float] = []
    for each in value:
        if isinstance(each, dict):
            keys = lowered(each)
            out += _numbers([keys.get("x"), keys.get("y")])
        elif isinstance(each, list):
            points = any(isinstance(inner, list | dict) for inner in each)
            inner = _numbers([x for point in each for x in _pair(point)] if points else each)
            if len(inner) % 2:
                raise NoBox("has a point of one number")
            out += inner
        else:
            raise NoBox("mixes numbers and points")
    return tuple(out)


def _pair(point: object) -> list[object]:
    if isinstance(point, dict):
        keys = lowered(point)
        return [keys.get("x"), keys.get("y")]
    if isinstance(point, list) and len(point) == 2:
        return point
    raise NoBox("has a point that is no pair of numbers")


def _numbers(values: list[object]) -> tuple[float, ...]:
    if len(values) > MOST_VALUES:
        raise NoBox(f"has {len(values)} values")
    return tuple(map(_number, values))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise NoBox(f"holds {_kind(value)} where a number belongs")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise NoBox(f"holds {str(value)[:20]!r} where a finite number belongs")
    return number


def _kind(value: object) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return kinds.get(type(value), "nothing")
