"""Sound pictures of every strange kind: each must become the picture it is."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO

import numpy as np
from handmade import (
    LONG,
    chunk,
    ink_profile,
    linear_grey_profile,
    linear_profile,
    png,
    rgb_tiff,
    without_times,
    ycck_jpeg,
)
from PIL import Image
from PIL.PngImagePlugin import PngInfo

Files = Iterator[tuple[str, bytes]]


class Pictures:
    """The sample's pictures in a random order, over and over."""

    def __init__(self, originals: list[Image.Image], rng: random.Random) -> None:
        self._originals, self.rng = originals, rng

    def rgba(self) -> Image.Image:
        return self.rng.choice(self._originals).copy()

    def rgb(self) -> Image.Image:
        """Over white."""
        picture = self.rgba()
        canvas = Image.new("RGB", picture.size, "white")
        canvas.paste(picture, mask=picture.getchannel("A"))
        return canvas

    def deep(self, channels: int) -> np.ndarray:
        """16 bits a channel (height, width, channels), the lower byte noise."""
        eight = np.asarray(self.rgb().convert("L" if channels == 1 else "RGB")).astype(np.uint16)
        noise = np.random.default_rng(self.rng.getrandbits(32)).integers(0, 256, eight.shape, dtype=np.uint16)
        return (eight << 8) | noise


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def wrong_extension(pictures: Pictures) -> Files:
    for kind, extension in (("PNG", "jpg"), ("JPEG", "png"), ("WEBP", "gif"), ("GIF", "tif"), ("BMP", "webp")):
        yield f"{kind}.{extension}", saved(pictures.rgb(), kind)
    yield "TIFF.jpeg", saved(pictures.rgb(), "TIFF")
    yield "AVIF.png", saved(pictures.rgb(), "AVIF", speed=10)


def cmyk(pictures: Pictures) -> Files:
    for profile in (None, ink_profile()):
        name = "with-profile" if profile else "plain"
        image = pictures.rgb().convert("CMYK")
        yield f"{name}.jpg", saved(image, "JPEG", icc_profile=profile)
        yield f"{name}.tif", saved(image, "TIFF", icc_profile=profile, compression="tiff_lzw")
        yield f"ycck-{name}.jpg", ycck_jpeg(pictures.rgb(), profile)


def one_bit(pictures: Pictures) -> Files:
    for kind, extension in (("PNG", "png"), ("BMP", "bmp"), ("PPM", "pbm"), ("TIFF", "tif"), ("GIF", "gif")):
        yield f"{kind}.{extension}", saved(pictures.rgb().convert("1"), kind)
    yield "fax.tif", saved(pictures.rgb().convert("1"), "TIFF", compression="group4")


def palette(pictures: Pictures) -> Files:
    for number in range(3):
        few = pictures.rgb().quantize(32)
        yield f"index-{number}.png", saved(few, "PNG", transparency=few.getpixel((0, 0)))
        yield f"bytes-{number}.png", saved(few, "PNG", transparency=bytes(range(0, 256, 8)))
        yield f"clear-{number}.gif", saved(pictures.rgba(), "GIF")
    yield "opaque.bmp", saved(pictures.rgb().quantize(), "BMP")
    yield "colour.png", saved(pictures.rgb(), "PNG", transparency=(255, 255, 255))
    yield "grey.png", saved(pictures.rgb().convert("L"), "PNG", transparency=255)


def sixteen_bits(pictures: Pictures) -> Files:
    for kind, extension in (("PNG", "png"), ("TIFF", "tif"), ("PPM", "pgm")):
        yield f"grey.{extension}", saved(Image.fromarray(pictures.deep(1)), kind)
    values = pictures.deep(3)
    height, width = values.shape[:2]
    yield "colour.png", png((width, height), 16, 2, [row.astype(">u2").tobytes() for row in values])
    body = zlib.compress(values.astype("<u2").tobytes())
    yield "colour.tif", rgb_tiff(width, height, body, _258=[16, 16, 16])
    yield "colour.ppm", b"P6 %d %d 65535\n" % (width, height) + values.astype(">u2").tobytes()


def alpha(pictures: Pictures) -> Files:
    rgba = pictures.rgba()
    yield "rgba.webp", saved(rgba, "WEBP", lossless=True)
    yield "lossy.webp", saved(pictures.rgba(), "WEBP")
    yield "rgba.tif", saved(rgba, "TIFF", compression="tiff_lzw")
    body = zlib.compress(rgba.convert("RGBa").tobytes())
    yield "premultiplied.tif", rgb_tiff(*rgba.size, body, _277=[4], _258=[8] * 4, _338=[1])
    yield "rgba.avif", saved(pictures.rgba(), "AVIF", speed=10)
    grey = pictures.rgba().convert("LA")
    yield "grey.png", saved(grey, "PNG")
    yield "grey.tif", saved(grey, "TIFF")
    yield "palette.tif", saved(pictures.rgba().convert("PA"), "TIFF")
    yield "invisible.png", saved(Image.new("RGBA", (20, 20), (200, 0, 0, 0)), "PNG")


def other_colours(pictures: Pictures) -> Files:
    yield "lab.tif", saved(pictures.rgb().convert("LAB"), "TIFF", icc_profile=None)
    yield "ycbcr.tif", saved(pictures.rgb().convert("YCbCr"), "TIFF")
    yield "jpeg-inside.tif", saved(pictures.rgb(), "TIFF", compression="jpeg")
    yield "white-is-zero.tif", saved(pictures.rgb().convert("L"), "TIFF", tiffinfo={262: 0})
    picture = pictures.rgb()
    planes = [zlib.compress(plane.tobytes()) for plane in picture.split()]
    sizes = [len(plane) for plane in planes]
    places = [8, 8 + sizes[0], 8 + sizes[0] + sizes[1]]
    yield "planes.tif", rgb_tiff(*picture.size, b"".join(planes), _284=[2], _273=places, _279=sizes)


def several_frames(pictures: Pictures) -> Files:
    for kind, extension in (("GIF", "gif"), ("PNG", "png"), ("WEBP", "webp"), ("AVIF", "avif"), ("TIFF", "tif")):
        first, *more = (pictures.rgb().resize((136, 128)) for _ in range(3))
        options = {"speed": 10} if kind == "AVIF" else {}
        data = saved(first, kind, save_all=True, append_images=more, **options)
        yield f"{kind}.{extension}", without_times(data) if kind == "AVIF" else data
    yield "phone.mpo", saved(pictures.rgb(), "MPO", save_all=True, append_images=[pictures.rgb()])
    yield "phone.jpg", saved(pictures.rgb(), "MPO", save_all=True, append_images=[pictures.rgb()])
    pages = saved(pictures.rgb(), "TIFF", save_all=True, append_images=[pictures.rgb()])
    yield "second-page-missing.tif", pages[: len(pages) * 3 // 4]


def profiles(pictures: Pictures) -> Files:
    kinds = {
        "linear": linear_profile(),
        "huge": linear_profile().ljust(3 * 2**20, b"\0"),
        "broken": b"no profile at all" * 20,
        "cut": linear_profile()[:400],
        "for-ink": ink_profile(),
        "for-grey": linear_grey_profile(),
    }
    for name, profile in kinds.items():
        yield f"{name}.jpg", saved(pictures.rgb(), "JPEG", icc_profile=profile)
        yield f"{name}.tif", saved(pictures.rgb(), "TIFF", icc_profile=profile)
        yield f"{name}.png", saved(pictures.rgb(), "PNG", icc_profile=profile)


def exif(pictures: Pictures) -> Files:
    for orientation in range(1, 9):
        turned = Image.Exif()
        turned[274] = orientation
        yield f"turned-{orientation}.jpg", saved(pictures.rgb(), "JPEG", exif=turned)
    for number, block in enumerate(
        (
            b"Exif\0\0junk",
            b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0",
            b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\x63\0\0\0\0\0\0",
            bytes(64),
        )
    ):
        yield f"broken-{number}.jpg", saved(pictures.rgb(), "JPEG", exif=block)
        yield f"broken-{number}.webp", saved(pictures.rgb(), "WEBP", exif=block)
    late = chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0")
    for name, damaged in (("late", late), ("late-wrong-sum", late[:-1] + b"?")):
        plain = saved(pictures.rgb(), "PNG")
        yield f"{name}.png", plain[:-12] + damaged + plain[-12:]


def odd_chunks(pictures: Pictures) -> Files:
    text = PngInfo()
    text.add_text("comment", "x" * 900_000)
    yield "long-text.png", saved(pictures.rgb(), "PNG", pnginfo=text)
    for name, extra in {
        "text-bomb": chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(20 << 20), 9)),
        "profile-bomb": chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(20 << 20), 9)),
        "wrong-sum-of-text": chunk(b"tEXt", b"k\0v")[:-1] + b"?",
        "unknown": chunk(b"prVt", b"whatever"),
        "many": chunk(b"teXt", b"") * 20_000,
    }.items():
        plain = saved(pictures.rgb(), "PNG")
        yield f"{name}.png", plain[:33] + extra + plain[33:]
    plain = saved(pictures.rgb(), "PNG")
    at = plain.index(b"IDAT")
    length = int.from_bytes(plain[at - 4 : at], "big")
    end = at + 4 + length
    yield "wrong-sum-of-pixels.png", plain[:end] + b"????" + plain[end + 4 :]
    plain = saved(pictures.rgb(), "PNG")
    yield "followed-by-junk.png", plain + b"junk" * 1000


def odd_codings(pictures: Pictures) -> Files:
    yield "progressive.jpg", saved(pictures.rgb(), "JPEG", progressive=True)
    yield "restarts.jpg", saved(pictures.rgb(), "JPEG", restart_marker_blocks=3)
    rows = [bytes(8) for _ in range(8)]  # the seven passes of an interlaced 8 x 8 grey picture
    passes = [rows[0][:1], rows[0][:1], rows[0][:2], *[rows[0][:2]] * 2, *[rows[0][:4]] * 2, *[rows[0][:4]] * 4]
    passes += [rows[0][:8]] * 4
    plain = png((8, 8), 8, 0, passes)
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)
    yield "interlaced.png", plain[:8] + chunk(b"IHDR", header) + plain[33:]
    yield "runs.bmp", run_length_bmp()
    yield "seven-levels.ppm", b"P6 2 2 7\n" + bytes([0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3])
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "lzma"):
        yield f"{compression}.tif", saved(pictures.rgb(), "TIFF", compression=compression)


def run_length_bmp() -> bytes:
    """8 x 4 pixels of 256 colours in runs."""
    runs = (bytes([8, 5]) + b"\0\0") * 4 + b"\0\1"
    colours = b"".join(bytes([index, 255 - index, index // 2, 0]) for index in range(256))
    header = struct.pack("<IiiHHIIiiII", 40, 8, 4, 1, 8, 1, len(runs), 0, 0, 256, 0)
    start = 14 + len(header) + len(colours)
    return struct.pack("<2sIHHI", b"BM", start + len(runs), 0, 0, start) + header + colours + runs


def odd_sizes(pictures: Pictures) -> Files:
    for kind, extension in (("PNG", "png"), ("JPEG", "jpg"), ("GIF", "gif"), ("WEBP", "webp"), ("TIFF", "tif")):
        yield f"1x1.{extension}", saved(Image.new("RGB", (1, 1), (200, 30, 30)), kind)
    stripe = pictures.rgb().resize((1, 20_000))
    yield "1x20000.png", saved(stripe, "PNG")
    yield "20000x1.jpg", saved(stripe.transpose(Image.Transpose.ROTATE_90), "JPEG")
    yield "1x20000-grey.tif", saved(stripe.convert("L"), "TIFF")
    yield "2x20000-clear.png", saved(pictures.rgba().resize((2, 20_000)), "PNG")


def directories(pictures: Pictures) -> Files:
    plain = zlib.compress(pictures.rgb().resize((16, 16)).tobytes())
    start = 8 + len(plain)
    loop = rgb_tiff(16, 16, plain)
    end = loop.rindex(struct.pack("<I", 0), 0, start + 2 + 12 * 9 + 4)
    yield "loop.tif", loop[:end] + struct.pack("<I", start) + loop[end + 4 :]
    yield "next-page-nowhere.tif", loop[:end] + struct.pack("<I", 0x7FFFFFFF) + loop[end + 4 :]
    yield (
        "tag-too-large.tif",
        rgb_tiff(16, 16, plain, _65000=[1]).replace(
            struct.pack("<HHI", 65000, LONG, 1), struct.pack("<HHI", 65000, LONG, 0x3FFFFFFF)
        ),
    )
