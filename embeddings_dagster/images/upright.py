"""Which way up a picture is meant to be seen: by its EXIF orientation, or else by its XMP."""

from PIL import ExifTags, Image, TiffImagePlugin

from embeddings_dagster.images.opening import Opened

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING = {5, 6, 7, 8}  # these swap width and height


def turn(opened: Opened) -> Image.Transpose | None:
    """What brings the pixels of a loaded picture upright; None where they are. A loaded TIFF is upright."""
    return _TURNS.get(_orientation(opened.image))


def sizes(opened: Opened) -> tuple[tuple[int, int], tuple[int, int]]:
    """(width, height) of the stored pixels and of the upright picture, by a header whose pixels are not loaded."""
    image = opened.image
    stored = image.size
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(ExifTags.Base.Orientation) in _LYING:
        stored = stored[::-1]  # which Pillow has swapped already
    return stored, stored[::-1] if _orientation(image) in _LYING else stored


def _orientation(image: Image.Image) -> int:
    """1 to 8; 1 where the EXIF block is missing or broken."""
    try:
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation)  # a PNG's own would load all of its pixels
    except MemoryError:
        raise
    except Exception:  # a broken EXIF block is reported in many classes, and is never a reason to lose the picture
        return 1
    return value if isinstance(value, int) else 1
