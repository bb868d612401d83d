"""Real picture files made in the test: by Pillow where it can write them, chunk by chunk where it cannot."""

import struct
import zlib
from collections.abc import Iterable
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from embeddings_dagster.images.rules import DecodeRules

RULES = DecodeRules()
WHITE = (255, 255, 255)


def file_of(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 24, height: int = 16) -> Image.Image:
    """An RGB picture no two of whose pixels are equal, so that any flip, turn or shift shows."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([x * 10, y * 15, x + y], axis=-1).astype(np.uint8))


def gradient_rgba() -> Image.Image:
    picture = gradient()
    picture.putalpha(Image.fromarray(np.linspace(0, 255, 24 * 16).astype(np.uint8).reshape(16, 24)))
    return picture


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    size: tuple[int, int], depth: int, colour: int, rows: Iterable[bytes], *, before: bytes = b"", after: bytes = b""
) -> bytes:
    """A PNG from packed rows; `before` and `after` are further chunks around the pixels."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + chunk(b"IDAT", pixels) + after + chunk(b"IEND", b"")


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def linear_profile() -> bytes:
    """sRGB's primaries with straight tone curves: linear light, in which 128 is a light grey (188 in sRGB)."""
    raw = bytearray(srgb_profile())
    for index in range(struct.unpack_from(">I", raw, 128)[0]):
        tag, offset, size = struct.unpack_from(">4sII", raw, 132 + 12 * index)
        if tag in (b"rTRC", b"gTRC", b"bTRC"):
            raw[offset : offset + size] = (b"curv" + bytes(8)).ljust(size, b"\0")
    return bytes(raw)


def linear_grey_profile() -> bytes:
    """A grey profile in linear light, put together by hand: a white point and one straight curve."""
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    tags = {b"wtpt": white, b"kTRC": b"curv" + bytes(8)}
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, 128 + 4 + 12 * len(tags) + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s", 128 + len(table) + len(body), b"", 0x02400000, b"mntr", b"GRAY", b"XYZ ")
    head = head.ljust(36, b"\0") + b"acsp"
    return head.ljust(68, b"\0") + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D) + bytes(48) + table + body
