"""Boxes in a picture, in pixels of the decoded, upright picture."""

from typing import NamedTuple

from PIL import Image

from embeddings_dagster.errors import EmptyRegion


class Box(NamedTuple):
    """Left, top, width and height in pixels."""

    x: int
    y: int
    w: int
    h: int


def clamp(box: Box, width: int, height: int) -> Box:
    """The part of `box` that lies within a picture of `width` x `height` pixels; w or h is 0 where nothing does."""
    left, top = min(max(box.x, 0), width), min(max(box.y, 0), height)
    right, bottom = min(max(box.x + box.w, left), width), min(max(box.y + box.h, top), height)
    return Box(left, top, right - left, bottom - top)


def crop(image: Image.Image, box: Box | None) -> Image.Image:
    """The part of `image` within `box`, clamped to it; all of it where `box` is None.

    Raises:
        EmptyRegion: nothing of the box lies within the picture.
    """
    if box is None:
        return image
    inside = clamp(box, image.width, image.height)
    if inside.w < 1 or inside.h < 1:
        raise EmptyRegion(
            f"the box x={box.x} y={box.y} w={box.w} h={box.h} covers nothing of the {image.width} x {image.height} "
            "pixels; correct the box in the item's record"
        )
    return image.crop((inside.x, inside.y, inside.x + inside.w, inside.y + inside.h))
