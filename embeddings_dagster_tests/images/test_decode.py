import struct
import threading
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import ExifTags, Image

from embeddings_dagster.errors import DecodeFailed, FormatNotAllowed, ImageError, TooManyBytes, TooManyPixels
from embeddings_dagster.images import DecodeRules, decode
from embeddings_dagster_tests.images.pictures import RULES, WHITE, chunk, file_of, gradient, gradient_rgba, png

LOSSLESS = {
    "PNG": {},
    "WEBP": {"lossless": True},
    "BMP": {},
    "TIFF": {"compression": "tiff_lzw"},
    "PPM": {},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}


def pixels(data: bytes, rules: DecodeRules = RULES) -> np.ndarray:
    picture = decode(data, rules)
    assert picture.mode == "RGB"
    assert picture.info == {}
    assert type(picture) is Image.Image, "no plugin's class, no open file"
    return np.asarray(picture)


def over_white(image: Image.Image) -> np.ndarray:
    rgba = np.asarray(image.convert("RGBA")).astype(float)
    alpha = rgba[..., 3:] / 255
    return np.rint(rgba[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


@pytest.mark.parametrize("kind", LOSSLESS)
def test_rgb_of_every_lossless_kind_comes_out_as_it_went_in(kind: str) -> None:
    found = pixels(file_of(gradient(), kind, **LOSSLESS[kind]))
    tolerance = 4 if kind == "AVIF" else 0  # its quality 100 still goes through YCbCr
    assert np.abs(found.astype(int) - np.asarray(gradient()).astype(int)).max() <= tolerance


def test_jpeg_is_what_pillow_decodes() -> None:
    data = file_of(gradient(), "JPEG", quality=95)
    assert np.array_equal(pixels(data), np.asarray(Image.open(BytesIO(data))))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_composited_over_the_background(kind: str) -> None:
    data = file_of(gradient_rgba(), kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    assert np.array_equal(pixels(data), over_white(gradient_rgba()))


def test_colour_hidden_under_alpha_zero_does_not_show() -> None:
    hidden = Image.new("RGBA", (3, 3), (200, 10, 10, 0))
    assert (pixels(file_of(hidden, "PNG"), DecodeRules(background=(1, 2, 3))) == (1, 2, 3)).all()


@pytest.mark.parametrize("background", [0, 1, 77, 127, 128, 254, 255])
def test_composite_equals_the_rounded_formula_for_every_value_and_alpha(background: int) -> None:
    value, alpha = np.meshgrid(np.arange(256), np.arange(256))
    image = np.dstack([value, value[::-1], value[:, ::-1], alpha])
    data = file_of(Image.fromarray(image.astype(np.uint8)), "PNG")
    # 255 is odd, so no quotient lies halfway between two integers: floor(x + 1/2) is the rounding, in integers.
    exact = (2 * (image[..., :3] * alpha[..., None] + background * (255 - alpha[..., None])) + 255) // 510
    assert np.array_equal(pixels(data, DecodeRules(background=(background,) * 3)), exact)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "CMYK", "YCbCr", "LAB", "RGBX"])
def test_every_8_bit_mode_becomes_rgb(mode: str) -> None:
    source = gradient() if mode != "PA" else gradient().convert("RGBA")
    image = source.convert(mode) if mode != "LAB" else _lab(gradient())
    found = pixels(file_of(image, "TIFF" if mode not in ("1", "L", "LA", "P") else "PNG"))
    assert np.array_equal(found, np.asarray(image.convert("RGB")))


def _lab(image: Image.Image) -> Image.Image:
    return image.convert("LAB")


def test_grey_with_alpha() -> None:
    image = gradient().convert("L").convert("LA")
    image.putalpha(gradient_rgba().getchannel("A"))
    assert np.array_equal(pixels(file_of(image, "PNG")), over_white(image))


@pytest.mark.parametrize("transparency", [3, bytes(range(0, 256, 2))])
def test_palette_with_transparency(transparency: int | bytes) -> None:
    data = file_of(gradient().quantize(64), "PNG", transparency=transparency)
    assert np.array_equal(pixels(data), over_white(Image.open(BytesIO(data))))
    assert (pixels(data) == WHITE).all(axis=2).any()


def test_gif_shows_its_first_frame_transparency_included() -> None:
    first = Image.new("RGBA", (6, 4), (0, 0, 0, 0))
    first.paste((250, 0, 0, 255), (0, 0, 3, 4))
    data = file_of(first, "GIF", save_all=True, append_images=[Image.new("RGBA", (6, 4), (0, 0, 250, 255))])
    assert pixels(data)[0].tolist() == [[250, 0, 0]] * 3 + [[255, 255, 255]] * 3


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF", "MPO"])
def test_animations_and_multi_page_files_show_their_first_frame(kind: str) -> None:
    first, second = Image.new("RGB", (16, 16), (255, 0, 0)), Image.new("RGB", (16, 16), (0, 0, 255))
    red, _, blue = pixels(file_of(first, kind, save_all=True, append_images=[second]))[8, 8]
    assert red > 240
    assert blue < 15


def test_one_colour_of_a_truecolour_png_may_mean_transparent() -> None:
    data = png((2, 1), 8, 2, [bytes([9, 9, 9, 9, 9, 8])], before=chunk(b"tRNS", struct.pack(">3H", 9, 9, 9)))
    assert pixels(data).tolist() == [[[255, 255, 255], [9, 9, 8]]]


@pytest.mark.parametrize(("depth", "key", "shown"), [(1, 1, [0, 255]), (2, 1, [0, 255, 170, 255]), (4, 3, [0, 255])])
def test_the_transparent_grey_is_given_in_the_files_own_depth(depth: int, key: int, shown: list[int]) -> None:
    row = {1: 0b01_000000, 2: 0b00_01_10_11, 4: 0x03}[depth]
    before = chunk(b"tRNS", struct.pack(">H", key))
    found = pixels(png((len(shown), 1), depth, 0, [bytes([row])], before=before), DecodeRules())
    assert found[0, :, 0].tolist() == shown


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_rescaled_not_clipped(kind: str) -> None:
    values = np.linspace(0, 65535, 400).astype(np.uint16).reshape(20, 20)
    expected = np.rint(values / 257).astype(np.uint8)
    assert np.array_equal(pixels(file_of(Image.fromarray(values), kind))[..., 0], expected)


def test_16_bit_big_endian_tiff_is_rescaled() -> None:
    values = np.linspace(0, 65535, 400).astype(">u2").reshape(20, 20)
    data = file_of(Image.fromarray(values), "TIFF")
    assert data[:2] == b"MM"
    assert np.array_equal(pixels(data)[..., 0], np.rint(values / 257).astype(np.uint8))


def test_16_bit_tiff_in_which_0_is_white_is_inverted() -> None:
    values = np.array([[0, 65535, 257]], np.uint16)
    data = file_of(Image.fromarray(values), "TIFF")
    black_is_zero, white_is_zero = (struct.pack("<HHIHH", 262, 3, 1, meaning, 0) for meaning in (1, 0))
    assert black_is_zero in data
    assert pixels(data.replace(black_is_zero, white_is_zero))[0, :, 0].tolist() == [255, 0, 254]


def test_16_bit_grey_with_a_transparent_value() -> None:
    data = png((2, 1), 16, 0, [struct.pack(">2H", 1000, 1001)], before=chunk(b"tRNS", struct.pack(">H", 1000)))
    assert pixels(data)[0, :, 0].tolist() == [255, 4]


def test_16_bit_colour_keeps_its_upper_half() -> None:
    data = png((2, 1), 16, 2, [struct.pack(">6H", 0, 0x80FF, 0xFFFF, 0x1234, 0x5678, 0x9ABC)])
    assert pixels(data)[0].tolist() == [[0, 0x80, 0xFF], [0x12, 0x56, 0x9A]]


def test_32_bit_integers_within_16_bits_are_rescaled_and_others_refused() -> None:
    small = Image.fromarray(np.array([[0, 65535]], np.int32))
    assert pixels(file_of(small, "TIFF"))[0, :, 0].tolist() == [0, 255]
    for values in ([0, 65536], [-1, 5]):
        with pytest.raises(DecodeFailed, match=r"TIFF: integers from .* have no agreed range of brightness; save it"):
            decode(file_of(Image.fromarray(np.array([values], np.int32)), "TIFF"), RULES)


def test_float_pixels_are_refused() -> None:
    image = Image.fromarray(np.linspace(0, 1, 4, dtype=np.float32).reshape(2, 2))
    with pytest.raises(DecodeFailed, match="TIFF: float pixels have no agreed range of brightness; save it with 8"):
        decode(file_of(image, "TIFF"), RULES)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_ends_upright(kind: str, orientation: int) -> None:
    turned = gradient()
    for transpose in {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }.get(orientation, []):
        turned = turned.transpose(transpose)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    found = pixels(file_of(turned, kind, exif=exif if kind == "TIFF" else exif.tobytes(), **LOSSLESS[kind]))
    assert found.shape == (16, 24, 3)
    assert np.abs(found.astype(int) - np.asarray(gradient()).astype(int)).max() <= (4 if kind == "AVIF" else 0)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", [b"Exif\0\0junk", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0", bytes(9)])
def test_a_broken_exif_block_is_ignored(kind: str, exif: bytes) -> None:
    assert decode(file_of(gradient(), kind, exif=exif), RULES).size == (24, 16)


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(3 << 20))),
        chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(3 << 20))),
        chunk(b"tEXt", b"k\0v")[:-1] + b"?",
    ],
    ids=["text that unpacks beyond the limit", "profile that does", "wrong checksum"],
)
@pytest.mark.parametrize("place", ["before", "after"])
def test_what_a_png_says_about_itself_never_costs_the_picture(extra: bytes, place: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    row = bytes(range(9))
    chunks = {"before": chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))}
    chunks[place] = chunks.get(place, b"") + extra
    found = decode(png((3, 1), 8, 2, [row], **chunks), RULES)
    assert found.size == (1, 3), "the orientation beside it still counts"
    assert found.tobytes() == row


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_truncated_files_are_refused(kind: str, part: float) -> None:
    noise = Image.fromarray(np.random.default_rng(7).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = file_of(noise if kind != "GIF" else noise.quantize(256), kind)
    with pytest.raises(DecodeFailed, match=rf"{kind}: .+; the file is damaged or .* replace it"):
        decode(data[: int(len(data) * part)], RULES)


def test_a_png_without_pixels_is_refused() -> None:
    data = png((2, 2), 8, 2, [bytes(6)] * 2)
    start, end = data.index(b"IDAT") - 4, data.index(b"IEND") - 4
    with pytest.raises(DecodeFailed, match="PNG: "):
        decode(data[:start] + data[end:], RULES)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM"])
def test_more_pixels_than_the_cap_are_refused_before_any_is_decoded(kind: str) -> None:
    data = file_of(gradient() if kind != "GIF" else gradient().quantize(), kind)
    assert decode(data, DecodeRules(max_pixels=24 * 16)).size == (24, 16)
    with pytest.raises(TooManyPixels, match=f"{kind}: 24 x 16 pixels are more than rgb.max_pixels = 383; raise it"):
        decode(data, DecodeRules(max_pixels=24 * 16 - 1))


def test_a_bomb_is_refused_by_its_header_and_the_cap_may_lie_above_pillows(recwarn: pytest.WarningsRecorder) -> None:
    bomb = png((30_000, 30_000), 8, 2, [])
    with pytest.raises(TooManyPixels, match=r"30,000 x 30,000 pixels are more than rgb\.max_pixels = 100,000,000"):
        decode(bomb, RULES)
    with pytest.raises(TooManyPixels):
        decode(bomb, DecodeRules(max_pixels=899_999_999))
    assert not recwarn.list


def test_more_bytes_than_the_cap_are_refused() -> None:
    data = file_of(gradient(), "BMP")
    with pytest.raises(TooManyBytes, match=f"{len(data):,} bytes are more than rgb.max_bytes = 100; raise it"):
        decode(data, DecodeRules(max_bytes=100))


def test_formats_outside_the_allowlist_are_refused() -> None:
    for kind in ("TGA", "PCX", "ICO", "JPEG2000", "SGI", "DDS"):
        with pytest.raises(FormatNotAllowed, match="not a picture of an accepted format: "):
            decode(file_of(gradient(), kind), RULES)
    with pytest.raises(FormatNotAllowed, match="the file is empty"):
        decode(b"", RULES)


def test_reasons_hold_no_address_and_repeat_themselves() -> None:
    messages = set()
    for _ in range(2):
        with pytest.raises(ImageError) as caught:
            decode(b"\x89PNG\r\n\x1a\n" + bytes(40), RULES)
        messages.add(str(caught.value))
    assert len(messages) == 1
    assert "0x" not in messages.pop()


def test_many_threads_decode_at_once() -> None:
    files = [file_of(gradient_rgba(), "PNG"), file_of(gradient(), "JPEG"), file_of(gradient(), "WEBP", lossless=True)]
    expected = [decode(data, RULES).tobytes() for data in files]
    wrong: list[int] = []

    def work() -> None:
        for turn in range(60):
            if decode(files[turn % 3], RULES).tobytes() != expected[turn % 3]:
                wrong.append(turn)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_memory_of_a_picture_is_kept_for_the_next() -> None:
    data = file_of(Image.new("RGB", (400, 400)), "PNG")
    before = Image.core.get_stats()["reused_blocks"]
    for _ in range(2):
        decode(data, RULES)
    assert Image.core.get_stats()["reused_blocks"] > before
