"""The size of the upright picture, known from the header alone."""

from unittest import mock

import pytest
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from embeddings_dagster.images import decode, probe
from embeddings_dagster_tests.images.pictures import RULES, chunk, file_of, gradient, png

XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[ExifTags.Base.Orientation] = orientation
    return made


@pytest.mark.parametrize("kind", ["JPEG", "MPO", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_upright_size_is_that_of_the_decoded_picture(kind: str, orientation: int) -> None:
    turned = exif(orientation)
    data = file_of(gradient(), kind, exif=turned if kind == "TIFF" else turned.tobytes())
    found = probe(data, RULES)
    assert found.upright == decode(data, RULES).size == ((16, 24) if orientation > 4 else (24, 16))
    if kind != "AVIF":  # which turns the stored pixels by a property of the container
        assert (found.width, found.height) == (24, 16)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_xmp_counts_where_exif_says_nothing(kind: str) -> None:
    told = XMP % 6
    if kind == "PNG":
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", told)
        data = file_of(gradient(), kind, pnginfo=text)
    elif kind == "TIFF":
        data = file_of(gradient(), kind, tiffinfo={700: told.encode()})
    else:
        data = file_of(gradient(), kind, xmp=told.encode())
    assert probe(data, RULES).upright == decode(data, RULES).size == (16, 24)


LATE = {
    "exif": chunk(b"eXIf", exif(6).tobytes().removeprefix(b"Exif\0\0")),
    "exif with a wrong checksum": chunk(b"eXIf", exif(6).tobytes().removeprefix(b"Exif\0\0"))[:-1] + b"?",
    "xmp": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + (XMP % 6).encode()),
}


@pytest.mark.parametrize("name", LATE)
def test_metadata_behind_the_pixels_of_a_png_counts_too(name: str) -> None:
    data = png((3, 1), 8, 2, [bytes(range(9))], after=LATE[name])
    assert probe(data, RULES).upright == decode(data, RULES).size == (1, 3)


def test_metadata_behind_an_animation_counts_too() -> None:
    data = file_of(gradient(), "PNG", save_all=True, append_images=[gradient().rotate(180)])
    data = data[:-12] + LATE["exif"] + data[-12:]
    assert probe(data, RULES).upright == decode(data, RULES).size == (16, 24)


def test_a_damaged_exif_chunk_costs_the_orientation_and_not_the_picture() -> None:
    data = png((3, 1), 8, 2, [bytes(range(9))], before=LATE["exif with a wrong checksum"])
    assert probe(data, RULES).upright == decode(data, RULES).size == (3, 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF", "BMP", "PPM"])
def test_no_pixel_is_decoded_for_it(kind: str) -> None:
    data = file_of(gradient() if kind != "GIF" else gradient().quantize(), kind)
    with mock.patch.object(Image.core, "new", side_effect=AssertionError("pixels were wanted")):
        assert probe(data, RULES).upright == (24, 16)
