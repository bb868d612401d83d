"""From the mode a file happens to have to colours without alpha, and an alpha channel beside them.

Values are rescaled, never clipped: Pillow turns 16-bit grey to white where it is above 255. What has no agreed range
of brightness (float pixels, integers beyond 16 bits) is refused, since any stretching would be a guess that makes the
same grey look different from file to file.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, TiffImagePlugin

from embeddings_dagster.errors import DecodeFailed
from embeddings_dagster.images.opening import Opened

_PHOTOMETRIC, _WHITE_IS_ZERO = TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 0
_BITS = TiffImagePlugin.BITSPERSAMPLE
_GREY_WITH_ALPHA = {"LA": "LA", "La": "LA"}
_COLOUR_WITH_ALPHA = {"RGBA": "RGBA", "RGBa": "RGBA", "PA": "RGBA"}


@dataclass(frozen=True)
class Planes:
    """Colours in their own space, mode `L`, `RGB` or `CMYK`; `alpha` in mode `L`, None where all is opaque."""

    colours: Image.Image
    alpha: Image.Image | None = None


def separate(opened: Opened) -> Planes:
    """The 8-bit colours and the alpha of a loaded picture.

    Raises:
        DecodeFailed: its pixels have no agreed range of brightness.
    """
    image = opened.image
    mode = image.mode
    if mode.startswith("I") or mode == "F":
        return _deep_grey(opened)
    if mode in ("1", "L", "RGB"):
        return Planes(image if mode != "1" else image.convert("L"), _keyed_alpha(opened))
    if mode in _GREY_WITH_ALPHA:
        return _split(image, "LA", "L")
    if mode in _COLOUR_WITH_ALPHA or (mode == "P" and _palette_has_alpha(image)):
        return _split(image, "RGBA", "RGB")
    return Planes(image if mode == "CMYK" else image.convert("RGB"))


def _split(image: Image.Image, both: str, colours: str) -> Planes:
    image = image if image.mode == both else image.convert(both)
    alpha = image.getchannel("A")
    return Planes(image.convert(colours), None if alpha.getextrema() == (255, 255) else alpha)


def _palette_has_alpha(image: Image.Image) -> bool:
    return "transparency" in image.info or (image.palette is not None and image.palette.mode == "RGBA")


def _keyed_alpha(opened: Opened) -> Image.Image | None:
    """The alpha of a picture in which one colour (or grey) means transparent.

    The file gives the key in its own bit depth, which is not that of the pixels here: 2-bit grey has become 8 bits, and
    of 16-bit colours Pillow keeps the upper half, so there the upper half of the key decides.
    """
    image, key = opened.image, opened.image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and len(key) == 3:
        wanted = [value >> 8 if opened.depth == 16 else value & 0xFF for value in key]
        opaque = (np.asarray(image) != np.array(wanted, np.uint8)).any(axis=2)
    elif image.mode in ("1", "L") and isinstance(key, int):
        grey = key * 255 // (2**opened.depth - 1) if opened.depth in (2, 4) else key & 0xFF
        opaque = np.asarray(image.convert("L")) != grey
    else:
        return None
    return None if opaque.all() else Image.fromarray(opaque.view(np.uint8) * np.uint8(255))


def _deep_grey(opened: Opened) -> Planes:
    image, name = opened.image, opened.name
    if image.mode == "F":
        raise DecodeFailed(f"{name}: float pixels have no agreed range of brightness; save it with 8 or 16 bits")
    values = np.asarray(image)
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise DecodeFailed(
            f"{name}: integers from {values.min()} to {values.max()} have no agreed range of brightness; "
            "save it with 8 or 16 bits"
        )
    key = image.info.get("transparency")
    alpha = None
    if isinstance(key, int) and (values == key).any():
        alpha = Image.fromarray((values != key).view(np.uint8) * np.uint8(255))
    top, inverted = _tiff_scale(image)
    return Planes(Image.fromarray(_to_8_bits(top, inverted)[np.minimum(values, top)]), alpha)


def _tiff_scale(image: Image.Image) -> tuple[int, bool]:
    """The value of full brightness, and whether 0 is white; a TIFF says both in its tags, and Pillow applies neither
    to deep grey."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 65535, False
    bits = image.tag_v2.get(_BITS, (16,))
    return (4095 if tuple(bits) == (12,) else 65535), image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _to_8_bits(top: int, inverted: bool) -> np.ndarray:
    """Table from 0..top to 0..255, rounded: v·255/top, for 16 bits v/257."""
    levels = np.arange(top + 1, dtype=np.uint32)
    table = ((levels * 510 + top) // (2 * top)).astype(np.uint8)
    return table[::-1] if inverted else table
