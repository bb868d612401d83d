"""Predictions in COCO's format: the boxes of each image that are panels, and sure enough, in reading order.

Ids are compared as text: that one file writes 12 and another "12" is nobody's fault.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from embeddings_dagster.errors import SourceError
from embeddings_dagster.sources.lenient_json import decode
from embeddings_dagster.sources.local_files import read_named

OTHER_CATEGORY, UNSURE, NO_BOX, NO_IMAGE, TAKEN = (
    "of another category",
    "below the least score",
    "without a usable box",
    "of no image in the file",
    "taken",
)
INTEGRAL = re.compile(r"([0-9]+)(?:\.0*)?")


class PanelBox(NamedTuple):
    """x, y, w, h in pixels, as the predictions have them."""

    x: float
    y: float
    w: float
    h: float


class _Annotation(NamedTuple):
    image_id: object
    category_id: object
    score: object
    bbox: object


@dataclass
class Predictions:
    """`boxes`: by the id of the image, those taken, sorted by (y, x), ties in the order of the file. `annotations`: how
    many there were, by what became of them."""

    boxes: Mapping[str, list[PanelBox]]
    annotations: Counter[str]
    _ids: "_Names" = field(repr=False)
    _files: "_Names" = field(repr=False)

    def find(self, ids: Iterable[str], files: Iterable[str]) -> tuple[str, ...]:
        """The image with one of these ids, else with one of these file names: none, one, or those it could be."""
        for names, asked in ((self._ids, ids), (self._files, files)):
            for each in asked:
                found = names.find(each)
                if found:
                    return found
        return ()


class _Names:
    """Images by a name of theirs: as it is written, else without regard to case, slashes, and leading zeros."""

    def __init__(self) -> None:
        self._exact: dict[str, dict[str, None]] = {}
        self._loose: dict[str, dict[str, None]] = {}

    def add(self, name: str, image: str) -> None:
        self._exact.setdefault(name, {})[image] = None
        self._loose.setdefault(_loose(name), {})[image] = None

    def find(self, name: str) -> tuple[str, ...]:
        return tuple(self._exact.get(name.strip()) or self._loose.get(_loose(name)) or ())


def read_predictions(path: Path, *, categories: Collection[int], min_score: float) -> Predictions:
    """The panels of a file of predictions. An annotation without a score is sure.

    Raises:
        SourceError: it cannot be read, or is no COCO.
    """
    try:
        value = json.loads(decode(read_named(path)), object_pairs_hook=_slim, strict=False)
    except OSError as error:
        raise SourceError(
            f"the predictions {str(path)!r} cannot be read ({error.strerror}); correct the path"
        ) from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"the predictions {str(path)!r} are not JSON ({str(error)[:200]}); make them anew") from error
    annotations = value if isinstance(value, list) else value.get("annotations") if isinstance(value, dict) else None
    if not isinstance(annotations, list):
        raise SourceError(f"the predictions {str(path)!r} hold no list 'annotations'; give a file in COCO's format")
    images = value.get("images") if isinstance(value, dict) else None
    return _collect(images if isinstance(images, list) else [], annotations, frozenset(map(str, categories)), min_score)


def _slim(pairs: list[tuple[str, object]]) -> object:
    """An annotation as four values: of a million, with their outlines, nothing else would stay small."""
    held = dict(pairs)
    if "bbox" in held and "image_id" in held:
        return _Annotation(held["image_id"], held.get("category_id"), held.get("score"), held["bbox"])
    return held


def _collect(
    images: list[object], annotations: list[object], categories: frozenset[str], min_score: float
) -> Predictions:
    ids, files = _Names(), _Names()
    boxes: dict[str, list[PanelBox]] = {}
    for image, id_, file in _images(images, annotations):
        ids.add(id_, image)
        if file:
            files.add(file, image)
        boxes.setdefault(image, [])
    fates: Counter[str] = Counter()
    for each in annotations:
        fate, image, box = _judge(each, ids, categories, min_score)
        fates[fate] += 1
        if box:
            boxes[image].append(box)
    for found in boxes.values():
        found.sort(key=lambda box: (box.y, box.x))
    return Predictions(boxes, fates, ids, files)


def _images(images: list[object], annotations: list[object]) -> Iterator[tuple[str, str, str]]:
    """(own name, id, file name) of each image; two of one id but of different files are two images."""
    of_id: dict[str, str] = {}
    for each in images:
        id_ = _id(each.get("id")) if isinstance(each, dict) else ""
        if id_ and isinstance(each, dict):
            file = str(each.get("file_name") or "")
            image = id_ if of_id.setdefault(id_, file) == file else f"{id_} ({file})"
            yield image, id_, file
    if not images:  # bare results, as evaluation tools write them
        for id_ in dict.fromkeys(_id(each.image_id) for each in annotations if isinstance(each, _Annotation)):
            if id_:
                yield id_, id_, ""


def _judge(
    annotation: object, ids: _Names, categories: frozenset[str], min_score: float
) -> tuple[str, str, PanelBox | None]:
    if not isinstance(annotation, _Annotation):
        return NO_BOX, "", None
    if _id(annotation.category_id) not in categories:
        return OTHER_CATEGORY, "", None
    score = 1.0 if annotation.score is None else _number(annotation.score)
    if not score >= min_score:  # NaN is not
        return UNSURE, "", None
    box = _box(annotation.bbox)
    if box is None:
        return NO_BOX, "", None
    found = ids.find(_id(annotation.image_id))
    return (TAKEN, found[0], box) if found else (NO_IMAGE, "", None)


def _box(value: object) -> PanelBox | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    box = PanelBox(*map(_number, value))
    return box if all(map(math.isfinite, box)) and box.w > 0 and box.h > 0 else None


def _number(value: object) -> float:
    """NaN where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def _id(value: object) -> str:
    """An id as text; empty where there is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if isinstance(value, bool) or not isinstance(value, int | float | str) else str(value).strip()


def _loose(name: str) -> str:
    text = name.strip().replace("\\", "/").removeprefix("./").casefold()
    number = INTEGRAL.fullmatch(text)
    return (number[1].lstrip("0") or "0") if number else text
