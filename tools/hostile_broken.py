"""Files that are no pictures, or pictures no more, or such as no machine should open: each must fail with a reason."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from handmade import LONG, SHORT, chunk, png, rgb_tiff, scan_bomb, tiff, tile_bomb
from hostile_strange import Files, Pictures, saved
from PIL import Image

EXTENSIONS = {
    "JPEG": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "GIF": "gif",
    "BMP": "bmp",
    "TIFF": "tif",
    "AVIF": "avif",
    "PPM": "ppm",
}
STRANGERS = {
    "page.jpg": b"<!DOCTYPE html><html><h1>404 Not Found</h1></html>",
    "page-with-mark.jpg": b"\xef\xbb\xbf\n <HTML><body>Access denied</body></HTML>",
    "answer.png": b'{"error": "not found"}',
    "drawing.png": b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>',
    "xml.gif": b'<?xml version="1.0"?><svg/>',
    "photoshop.jpg": b"8BPS\0\1" + bytes(60),
    "icon.png": b"\0\0\1\0\1\0\x10\x10" + bytes(60),
    "heic.jpg": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(60),
    "film.gif": b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(60),
    "script.tif": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
    "document.tif": b"%PDF-1.7\n" + bytes(60),
    "archive.webp": b"PK\3\4" + bytes(60),
    "plain.ppm": b"P3 1 1 255 1 2 3\n",
    "pointer.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "jpeg2000.jpg": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60),
    "jpegxl.jpg": b"\xff\x0a" + bytes(60),
    "exr.tif": b"v/1\1" + bytes(60),
    "text.jpg": b"this is not a picture",
    "one-byte.png": b"\x89",
}


def empty(pictures: Pictures) -> Files:
    for extension in EXTENSIONS.values():
        yield f"empty.{extension}", b""


def zeros(pictures: Pictures) -> Files:
    for extension, size in (("jpg", 5000), ("png", 1), ("tif", 100_000)):
        yield f"{size}.{extension}", bytes(size)


def strangers(pictures: Pictures) -> Files:
    yield from STRANGERS.items()


def truncated(pictures: Pictures) -> Files:
    for kind, extension in EXTENSIONS.items():
        for part in (0.2, 0.5, 0.9):
            data = saved(pictures.rgb(), kind, **({"speed": 10} if kind == "AVIF" else {}))
            yield f"{part}.{extension}", data[: int(len(data) * part)]
    for part in (0.3, 0.6):
        data = saved(pictures.rgb(), "JPEG", progressive=True)
        yield f"progressive-{part}.jpg", data[: int(len(data) * part)]
        data = saved(pictures.rgb(), "TIFF", compression="tiff_lzw")
        yield f"lzw-{part}.tif", data[: int(len(data) * part)]
        data = saved(pictures.rgb(), "PNG", save_all=True, append_images=[pictures.rgb()])
        yield f"animated-{part * 0.7:.2f}.png", data[: int(len(data) * part * 0.7)]


def declared_bombs(pictures: Pictures) -> Files:
    yield "png.png", png((50_000, 50_000), 8, 2, [bytes(3)])
    yield "png-largest.png", png((0x7FFFFFFF, 0x7FFFFFFF), 16, 6, [])
    gif = saved(pictures.rgb(), "GIF")
    yield "gif-screen.gif", gif[:6] + b"\xff\xff\xff\xff" + gif[10:]
    frame = gif.index(b"\x2c\0\0\0\0") + 5
    yield "gif-frame.gif", gif[:frame] + b"\xff\xff\xff\xff" + gif[frame + 4 :]
    bmp = saved(pictures.rgb(), "BMP")
    yield "bmp.bmp", bmp[:18] + struct.pack("<ii", 60_000, 60_000) + bmp[26:]
    yield "bmp-upside-down.bmp", bmp[:18] + struct.pack("<ii", 60_000, -60_000) + bmp[26:]
    jpeg = saved(pictures.rgb(), "JPEG")
    size = jpeg.index(b"\xff\xc0") + 5
    yield "jpeg.jpg", jpeg[:size] + b"\xff\xff\xff\xff" + jpeg[size + 4 :]
    yield "ppm.ppm", b"P6 60000 60000 255\n" + bytes(100)
    yield "tiff.tif", rgb_tiff(60_000, 60_000, b"junk")
    yield "tiff-largest.tif", rgb_tiff(0xFFFFFFFF, 0xFFFFFFFF, b"junk")
    extended = struct.pack("<4sIB3x", b"VP8X", 10, 2) + b"\xff\xff\xff\xff\0\0"
    yield "webp.webp", struct.pack("<4sI4s", b"RIFF", 4 + len(extended), b"WEBP") + extended
    yield "webp-simple.webp", _vp8l(16_383, 16_383)
    avif = saved(pictures.rgb(), "AVIF", speed=10)
    extent = avif.index(b"ispe") + 8
    yield "avif.avif", avif[:extent] + struct.pack(">II", 60_000, 60_000) + avif[extent + 8 :]


def _vp8l(width: int, height: int) -> bytes:
    body = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(60)
    return struct.pack("<4sI4s4sI", b"RIFF", 12 + len(body), b"WEBP", b"VP8L", len(body)) + body


def real_bombs(pictures: Pictures) -> Files:
    """All the pixels are there, and zeros compress well."""
    row = bytes(30_000 // 8)
    yield "900-megapixels.png", png((30_000, 30_000), 1, 0, (row for _ in range(30_000)))
    yield "400-megapixels.tif", saved(Image.new("1", (20_000, 20_000)), "TIFF", compression="group4")
    yield "200-megapixels.gif", saved(Image.new("P", (14_200, 14_200)), "GIF")


def memory_bombs(pictures: Pictures) -> Files:
    for side in (12_000, 20_000, 60_000):
        yield f"tile-{side}.tif", tile_bomb(side)


def time_bombs(pictures: Pictures) -> Files:
    plain = Image.new("RGB", (2000, 2000), pictures.rgb().getpixel((64, 64)))
    yield "scans.jpg", scan_bomb(saved(plain, "JPEG", progressive=True), 60_000)


def deep_values(pictures: Pictures) -> Files:
    """Pixels without an agreed range of brightness."""
    grey = np.asarray(pictures.rgb().convert("L"))
    yield "float.tif", saved(Image.fromarray(grey.astype(np.float32) / 255), "TIFF")
    yield "float-nan.tif", saved(Image.fromarray(np.full((9, 9), np.nan, np.float32)), "TIFF")
    yield "32-bit.tif", saved(Image.fromarray(grey.astype(np.int32) * 2**20), "TIFF")
    yield "negative.tif", saved(Image.fromarray(-1 - grey.astype(np.int32)), "TIFF")


def headers(pictures: Pictures) -> Files:
    plain = saved(pictures.rgb(), "PNG")
    yield "wrong-sum.png", plain[:29] + b"????" + plain[33:]
    start = plain.index(b"IDAT") - 4
    yield "no-pixels.png", plain[:start] + chunk(b"IEND", b"")
    yield "no-width.png", png((0, 9), 8, 2, [])
    few = saved(pictures.rgb().quantize(16), "PNG")
    colours = few.index(b"PLTE") + 4 + 48
    yield "wrong-sum-of-palette.png", few[:colours] + b"????" + few[colours + 4 :]
    gif = saved(pictures.rgb(), "GIF")
    frame = gif.index(b"\x2c\0\0\0\0") + 5
    yield "no-frame.gif", gif[:frame] + b"\0\0\0\0" + gif[frame + 4 :]
    yield "only-signature.gif", b"GIF89a"
    yield "no-frames.gif", gif[:13] + b";"
    yield "no-size.tif", tiff({259: (SHORT, [1])})
    yield "no-directory.tif", b"II*\0\xff\xff\xff\x7f"
    yield "many-tags.tif", b"II*\0\x08\0\0\0\xff\xff" + bytes(12 * 50)
    yield "many-tags-big.tif", b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**63) + bytes(200)
    yield "many-samples.tif", rgb_tiff(9, 9, b"junk", _277=[65535])
    yield "unknown-coding.tif", rgb_tiff(9, 9, b"junk", compression=34712)
    yield "endless-strip.tif", rgb_tiff(100, 100, zlib.compress(bytes(100)), _278=[0x7FFFFFFF])
    yield "no-strips.tif", tiff({256: (LONG, [9]), 257: (LONG, [9]), 258: (SHORT, [8]), 262: (SHORT, [1])})
    for number, compression in (("lzw", 5), ("jpeg", 7), ("deflate", 8), ("fax", 4), ("lzma", 34925), ("zstd", 50000)):
        yield f"junk-{number}.tif", rgb_tiff(20, 20, b"junk" * 100, compression=compression)
    yield "no-size.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xd9"
    yield "12-bit.jpg", saved(pictures.rgb(), "JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c")
    yield "no-levels.ppm", b"P6 2 2 0\n" + bytes(12)
    yield "no-numbers.ppm", b"P6 two two 255\n" + bytes(12)
    yield "short.webp", b"RIFF\x1a\0\0\0WEBPVP8 "
    yield "only-boxes.avif", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(40)


def flipped(pictures: Pictures) -> Files:
    """A few bytes of a sound file changed, in the header or anywhere."""
    rng = pictures.rng
    for kind, extension in EXTENSIONS.items():
        for number in range(7):
            data = bytearray(saved(pictures.rgb(), kind, **({"speed": 10} if kind == "AVIF" else {})))
            for _ in range(rng.randint(1, 8)):
                data[rng.randrange(12, 200 if number % 2 else len(data))] = rng.randrange(256)
            yield f"{number}.{extension}", bytes(data)


def restarts(pictures: Pictures) -> Files:
    """Restart markers of a JPEG gone, doubled or out of order."""
    for number in range(6):
        data = saved(pictures.rgb(), "JPEG", restart_marker_blocks=2)
        at = data.index(b"\xff\xd3", data.index(b"\xff\xda"))
        yield f"gone-{number}.jpg", data[:at] + data[at + 2 :]
        yield f"wrong-{number}.jpg", data[:at] + b"\xff\xd6" + data[at + 2 :]
        yield f"interval-gone-{number}.jpg", data[: at - 20] + data[at + 2 :]
