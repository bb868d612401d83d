from io import BytesIO

import numpy as np
import pytest
from PIL import ExifTags, Image

from embeddings_dagster.errors import DecodeFailed, TooManyBytes
from embeddings_dagster.images import DecodeRules, decode, probe, to_rgb
from embeddings_dagster_tests.images.pictures import (
    RULES,
    chunk,
    file_of,
    gradient,
    gradient_rgba,
    linear_profile,
    png,
)


def turned() -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return exif.tobytes()


KEPT = {
    "jpeg": file_of(gradient(), "JPEG"),
    "jpeg turned, with a profile": file_of(gradient(), "JPEG", exif=turned(), icc_profile=linear_profile()),
    "jpeg, progressive": file_of(gradient(), "JPEG", progressive=True),
    "mpo": file_of(gradient(), "MPO", save_all=True, append_images=[gradient()]),
    "png": file_of(gradient(), "PNG"),
    "webp": file_of(gradient(), "WEBP"),
}
CONVERTED = {
    "alpha": file_of(gradient_rgba(), "PNG"),
    "alpha, turned, with a profile": file_of(gradient_rgba(), "PNG", exif=turned(), icc_profile=linear_profile()),
    "alpha webp": file_of(gradient_rgba(), "WEBP"),
    "grey": file_of(gradient().convert("L"), "JPEG"),
    "cmyk": file_of(gradient().convert("CMYK"), "JPEG"),
    "palette": file_of(gradient().quantize(), "PNG"),
    "gif": file_of(gradient().quantize(), "GIF"),
    "bmp": file_of(gradient(), "BMP"),
    "tiff": file_of(gradient(), "TIFF"),
    "avif": file_of(gradient(), "AVIF"),
    "16 bits": file_of(Image.fromarray(np.arange(0, 60000, 500, np.uint16).reshape(10, 12)), "PNG"),
    "16-bit colour": png((2, 1), 16, 2, [bytes(range(12))]),
    "transparent colour": png((2, 1), 8, 2, [bytes(6)], before=chunk(b"tRNS", bytes([0, 9] * 3))),
    "animated png": file_of(gradient(), "PNG", save_all=True, append_images=[gradient().rotate(90)]),
    "animated webp": file_of(gradient(), "WEBP", save_all=True, append_images=[gradient().rotate(90)]),
    "png that other readers may refuse": png((2, 1), 8, 2, [bytes(6)], before=chunk(b"tEXt", b"k\0v")[:-1] + b"?"),
}


@pytest.mark.parametrize("name", KEPT)
def test_single_frame_8_bit_rgb_passes_through_untouched(name: str) -> None:
    made = to_rgb(KEPT[name], RULES)
    assert made.passthrough
    assert made.data is KEPT[name]
    assert probe(KEPT[name], RULES).passthrough


@pytest.mark.parametrize("name", CONVERTED)
def test_everything_else_is_converted_without_loss(name: str) -> None:
    made = to_rgb(CONVERTED[name], RULES)
    assert not made.passthrough
    assert not probe(CONVERTED[name], RULES).passthrough
    with Image.open(BytesIO(made.data)) as picture:
        assert picture.mode == "RGB"
        assert not {"exif", "icc_profile", "transparency"} & picture.info.keys()


@pytest.mark.parametrize("name", [*KEPT, *CONVERTED])
def test_converted_bytes_decode_to_the_same_pixels(name: str) -> None:
    data = {**KEPT, **CONVERTED}[name]
    before, made = decode(data, RULES), to_rgb(data, RULES)
    assert decode(made.data, RULES).tobytes() == before.tobytes()
    assert (made.width, made.height) == before.size


def test_width_and_height_are_those_after_orientation() -> None:
    made = to_rgb(file_of(gradient(), "JPEG", exif=turned()), RULES)
    assert (made.width, made.height) == (16, 24)


def test_a_side_too_long_for_webp_becomes_png() -> None:
    tall = Image.new("LA", (2, 16_384), (7, 128))
    made = to_rgb(file_of(tall, "PNG"), RULES)
    assert made.data.startswith(b"\x89PNG")
    assert decode(made.data, RULES).tobytes() == decode(file_of(tall, "PNG"), RULES).tobytes()


@pytest.mark.parametrize(("size", "shown"), [((600, 300), (256, 128)), ((30, 20), (30, 20)), ((4000, 2), (256, 1))])
def test_the_thumbnail_is_a_small_jpeg_that_never_grows(size: tuple[int, int], shown: tuple[int, int]) -> None:
    thumbnail = Image.open(BytesIO(to_rgb(file_of(Image.new("RGBA", size, (9, 9, 9, 9)), "PNG"), RULES).thumbnail))
    assert (thumbnail.format, thumbnail.mode, thumbnail.size) == ("JPEG", "RGB", shown)


def test_a_truncated_file_may_pass_the_probe_but_not_the_conversion() -> None:
    data = KEPT["jpeg"][:-40]
    assert probe(data, RULES).format == "JPEG"
    with pytest.raises(DecodeFailed, match="JPEG: image file is truncated"):
        to_rgb(data, RULES)


def test_what_would_exceed_the_cap_once_converted_is_refused() -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = file_of(noise, "AVIF", quality=10)
    with pytest.raises(TooManyBytes, match=r"AVIF: takes [\d,]+ bytes without loss, .* rgb.max_bytes = [\d,]+; raise"):
        to_rgb(data, DecodeRules(max_bytes=len(data)))


def test_probe_reads_format_mode_and_stored_size() -> None:
    found = probe(file_of(gradient().convert("L"), "JPEG", exif=turned()), RULES)
    assert (found.format, found.mode, found.width, found.height, found.passthrough) == ("JPEG", "L", 24, 16, False)
    assert probe(KEPT["mpo"], RULES).format == "MPO"


@pytest.mark.parametrize("size", [(1024, 1024), (1500, 1100), (640, 427), (475, 475), (300, 1900)])
def test_the_thumbnail_looks_like_the_picture(size: tuple[int, int]) -> None:
    """The same as one scaled without a shortcut, to 35 dB."""
    picture = gradient().resize(size, Image.Resampling.BICUBIC)
    thumbnail = Image.open(BytesIO(to_rgb(file_of(picture, "PNG"), RULES).thumbnail))
    assert max(thumbnail.size) == 256
    slow = file_of(picture.resize(thumbnail.size, Image.Resampling.LANCZOS), "JPEG", quality=80)
    off = np.asarray(thumbnail).astype(float) - np.asarray(Image.open(BytesIO(slow)))
    assert np.square(off).mean() < 255**2 / 10**3.5
