"""No bytes make `decode`, `to_rgb` or `probe` raise anything but an `ImageError`."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embeddings_dagster.errors import DecodeFailed, DecodeOutOfMemory, ImageError, TooManyPixels
from embeddings_dagster.images import DecodeRules, decode, probe, to_rgb
from embeddings_dagster.images.opening import naming_errors
from embeddings_dagster.images.risk import risk
from embeddings_dagster_tests.images.pictures import (
    chunk,
    file_of,
    gradient,
    gradient_rgba,
    ink_profile,
    linear_profile,
)
from embeddings_dagster_tests.security.inputs import damaged

# Pytest undoes the filter that `opening` sets when it is imported; the last test here shows it at work.
pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\.\w+ImagePlugin")

RULES = DecodeRules(max_pixels=300_000)  # a damaged header may promise a large picture; that is not what is tested
EXIF = Image.Exif()
EXIF[274], EXIF[0x010E] = 6, "description"
TAGGED = {"exif": EXIF.tobytes(), "icc_profile": linear_profile()}
GREY_16 = Image.new("I;16", (9, 7), 3000)
TURN = chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<rdf:Description tiff:Orientation="6"/>')
FILES = {
    "jpeg": file_of(gradient(), "JPEG", **TAGGED),
    "mpo": file_of(gradient(), "MPO", save_all=True, append_images=[gradient()]),
    "png": file_of(gradient_rgba(), "PNG", **TAGGED),
    "palette png": file_of(gradient().quantize(16), "PNG", transparency=bytes(range(16))),
    "animated png": file_of(gradient(), "PNG", save_all=True, append_images=[gradient().rotate(90)]),
    "16-bit png": file_of(GREY_16, "PNG"),
    "webp": file_of(gradient_rgba(), "WEBP", **TAGGED),
    "gif": file_of(gradient(), "GIF", save_all=True, append_images=[gradient().rotate(90)]),
    "bmp": file_of(gradient().quantize(), "BMP"),
    "tiff": file_of(gradient(), "TIFF", exif=EXIF, icc_profile=linear_profile()),
    "lzw tiff": file_of(gradient_rgba(), "TIFF", compression="tiff_lzw"),
    "jpeg tiff": file_of(gradient(), "TIFF", compression="jpeg"),
    "16-bit tiff": file_of(GREY_16, "TIFF"),
    "avif": file_of(gradient(), "AVIF", **TAGGED),
    "pgm": file_of(GREY_16, "PPM"),
    "progressive jpeg": file_of(gradient(), "JPEG", progressive=True, restart_marker_blocks=1),
    "cmyk jpeg": file_of(gradient().convert("CMYK"), "JPEG", icc_profile=ink_profile()),
    "palette tiff": file_of(gradient().quantize(16), "TIFF", compression="packbits"),
    "fax tiff": file_of(gradient().convert("1"), "TIFF", compression="group4"),
    "tiff of pages": file_of(gradient(), "TIFF", save_all=True, append_images=[gradient()], compression="tiff_lzw"),
    "animated webp": file_of(gradient_rgba(), "WEBP", save_all=True, append_images=[gradient_rgba().rotate(90)]),
    "animated avif": file_of(gradient(), "AVIF", save_all=True, append_images=[gradient().rotate(90)]),
    "png with text": file_of(gradient(), "PNG")[:-12] + TURN + bytes(4) + b"IEND\xaeB`\x82",
    "ppm of few levels": b"P6 2 2 7\n" + bytes(range(8)) + bytes(4),
}


@given(damaged(list(FILES.values()), most=6))
@settings(max_examples=1000, deadline=None)
def test_damaged_files_decode_or_end_as_image_errors(data: bytes) -> None:
    assert isinstance(risk(data), str)
    found, messages = {}, []
    for use in (probe, decode, to_rgb):
        try:
            found[use] = use(data, RULES)
        except ImageError as error:
            messages.append(str(error))
    assert all(message.isprintable() and len(message) < 400 for message in messages)
    assert (decode in found) == (to_rgb in found)
    if decode in found:
        assert found[probe].upright == found[decode].size == (found[to_rgb].width, found[to_rgb].height)
        assert decode(found[to_rgb].data, RULES) == found[decode]


@given(st.binary(max_size=100), st.sampled_from([FILES[name][:12] for name in sorted(FILES) if "ppm" not in name]))
@settings(max_examples=200, deadline=None)
def test_a_signature_followed_by_anything_ends_as_an_image_error(tail: bytes, head: bytes) -> None:
    with pytest.raises(ImageError):
        decode(head + tail, RULES)


@pytest.mark.parametrize(
    ("raised", "becomes"),
    [
        *((kind("why"), DecodeFailed) for kind in (OSError, ValueError, SyntaxError, TypeError, NotImplementedError)),
        *((kind("why"), DecodeFailed) for kind in (EOFError, OverflowError, IndexError, KeyError, AssertionError)),
        *((kind("why"), DecodeFailed) for kind in (struct.error, zlib.error, RecursionError, ZeroDivisionError)),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "why"), DecodeFailed),
        (Image.DecompressionBombError("why"), TooManyPixels),
        (Image.DecompressionBombWarning("why"), TooManyPixels),
        (MemoryError(), DecodeOutOfMemory),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_every_exception_of_a_decoder_becomes_an_image_error_with_format_and_reason(
    raised: Exception, becomes: type[ImageError]
) -> None:
    with pytest.raises(becomes, match=r"^GIF: .*(why|not enough memory)") as caught, naming_errors("GIF"):
        raise raised
    assert caught.value.__cause__ is raised
    assert caught.value.retryable is (becomes is DecodeOutOfMemory)


def test_a_reason_is_one_printable_line_of_bounded_length() -> None:
    with pytest.raises(DecodeFailed) as caught, naming_errors("GIF"):
        raise OSError("a\nb\x00" + "c" * 1000)
    assert str(caught.value).startswith("GIF: a b?ccc")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", FILES)
def test_the_undamaged_files_are_good(name: str) -> None:
    assert decode(FILES[name], RULES).mode == "RGB"


def test_pillows_warnings_do_not_leak_and_change_nothing(tmp_path: Path) -> None:
    """Even where the interpreter was told to raise them."""
    entry = FILES["tiff"].index((0x010E).to_bytes(2, "little"))
    warned = bytearray(FILES["tiff"])
    warned[entry + 4 : entry + 8] = (1 << 20).to_bytes(4, "little")
    file = tmp_path / "warned.tif"
    file.write_bytes(warned)
    script = (
        "import sys\n"
        "from embeddings_dagster.images import DecodeRules, decode\n"
        "print(decode(open(sys.argv[1], 'rb').read(), DecodeRules()).size)\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", script, str(file)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (run.stdout, run.stderr) == ("(16, 24)\n", "")
    with pytest.warns(UserWarning, match="larger than file"):
        Image.open(file)
