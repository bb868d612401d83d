"""What is decoded in a process of its own, and that ordinary pictures are not."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from embeddings_dagster.images.formats import FORMATS
from embeddings_dagster.images.risk import MAX_BYTES, MAX_CHUNKS, MAX_PROFILE_BYTES, MAX_SCANS, MAX_SEGMENTS, risk
from embeddings_dagster_tests.images.pictures import chunk, file_of, gradient, gradient_rgba, linear_profile, png

JPEG = file_of(gradient(), "JPEG")
PROGRESSIVE = file_of(gradient(), "JPEG", progressive=True)
LAST_SCAN = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2]
LARGE_PROFILE = linear_profile().ljust(MAX_PROFILE_BYTES + 1, b"\0")

ORDINARY = {
    "jpeg": JPEG,
    "jpeg, progressive": PROGRESSIVE,
    "jpeg with a profile": file_of(gradient(), "JPEG", icc_profile=linear_profile()),
    "jpeg of 24 megapixels": JPEG.replace(struct.pack(">HH", 16, 24), struct.pack(">HH", 4000, 6000), 1),
    "mpo": file_of(gradient(), "MPO", save_all=True, append_images=[gradient()]),
    "cmyk": file_of(gradient().convert("CMYK"), "JPEG"),
    "png": file_of(gradient_rgba(), "PNG"),
    "png with a profile": file_of(gradient(), "PNG", icc_profile=linear_profile()),
    "animated png": file_of(gradient(), "PNG", save_all=True, append_images=[gradient().rotate(90)]),
    "webp": file_of(gradient(), "WEBP"),
    "webp, lossless": file_of(gradient(), "WEBP", lossless=True),
    "webp with alpha": file_of(gradient_rgba(), "WEBP"),
    "webp with a profile": file_of(gradient(), "WEBP", icc_profile=linear_profile()),
    "nothing": b"",
    "no picture": b"<html>",
    "cut short": JPEG[:20],
}
RISKY = {
    "jpeg of many bytes": (JPEG + bytes(MAX_BYTES), "has many bytes"),
    "jpeg of many pixels": (JPEG.replace(struct.pack(">HH", 16, 24), b"\xff\xff\xff\xff", 1), "has many pixels"),
    "jpeg of many scans": (PROGRESSIVE[:-2] + LAST_SCAN * MAX_SCANS, "has many scans"),
    "jpeg of many segments": (JPEG[:2] + b"\xff\xe3\0\2" * MAX_SEGMENTS + JPEG[2:], "has many segments"),
    "jpeg with filling": (JPEG[:2] + b"\xff" * 9 + JPEG[2:], "has bytes between its segments"),
    "jpeg with junk": (JPEG[:20] + b"junk" + JPEG[20:], "has bytes between its segments"),
    "jpeg with a large profile": (file_of(gradient(), "JPEG", icc_profile=LARGE_PROFILE), "has a large profile"),
    "png of many pixels": (png((30_000, 30_000), 1, 0, []), "has many pixels"),
    "png of many chunks": (png((1, 1), 8, 0, [b"\0"], before=chunk(b"teXt", b"") * MAX_CHUNKS), "has many chunks"),
    "png with a large profile": (
        png((1, 1), 8, 0, [b"\0"], before=chunk(b"iCCP", b"k\0\0" + zlib.compress(LARGE_PROFILE))),
        "has a large profile",
    ),
    "webp of many pixels": (file_of(Image.new("RGB", (16_000, 2_000)), "WEBP"), "has many pixels"),
    "webp of many pixels, lossless": (file_of(Image.new("1", (16_000, 2_000)), "WEBP", lossless=True), "has many"),
    "webp with a large profile": (file_of(gradient(), "WEBP", icc_profile=LARGE_PROFILE), "has a large profile"),
    "animated webp": (file_of(gradient(), "WEBP", save_all=True, append_images=[gradient().rotate(9)]), "is animated"),
    "tiff": (file_of(gradient(), "TIFF"), "is TIFF"),
    "gif": (file_of(gradient().quantize(), "GIF"), "is GIF"),
    "bmp": (file_of(gradient(), "BMP"), "is BMP"),
    "avif": (file_of(gradient(), "AVIF"), "is AVIF"),
    "ppm": (file_of(gradient(), "PPM"), "is PPM"),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_pictures_are_decoded_here(name: str) -> None:
    assert risk(ORDINARY[name]) == ""


@pytest.mark.parametrize("name", RISKY)
def test_risky_ones_are_told_by_their_bytes(name: str) -> None:
    data, reason = RISKY[name]
    assert reason in risk(data)


@given(st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF1234WEBPVP8X", *(b"GIF89a", b"BM")]), st.binary())
def test_no_bytes_make_it_fail(head: bytes, tail: bytes) -> None:
    assert isinstance(risk(head + tail), str)


def test_every_format_is_either_looked_at_or_risky_as_such() -> None:
    ordinary = {each.name for each in FORMATS} - {reason.removeprefix("is ") for _, reason in RISKY.values()}
    assert ordinary == {"JPEG", "PNG", "WEBP"}
