"""Picture files put together by hand, for what no library writes: chunk by chunk, tag by tag, segment by segment."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO

from PIL import Image, ImageChops, ImageCms

SHORT, LONG = 3, 4  # TIFF's types of numbers
_D50 = struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    size: tuple[int, int], depth: int, colour: int, rows: Iterable[bytes], *, before: bytes = b"", after: bytes = b""
) -> bytes:
    """A PNG from packed rows; `before` and `after` are further chunks around the pixels."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(b"\0" + row) for row in rows) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + chunk(b"IDAT", pixels) + after + chunk(b"IEND", b"")


def tiff(tags: Mapping[int, tuple[int, Sequence[int]]], body: bytes = b"", following: int = 0) -> bytes:
    """A little-endian TIFF of one directory: tag -> (type, numbers). `body` begins at byte 8; `following` is where the
    next directory is said to be."""
    start = 8 + len(body)
    place = start + 2 + 12 * len(tags) + 4
    entries = values = b""
    for tag, (kind, numbers) in sorted(tags.items()):
        raw = struct.pack("<" + ("H" if kind == SHORT else "I") * len(numbers), *numbers)
        entries += struct.pack("<HHI", tag, kind, len(numbers))
        if len(raw) > 4:
            entries += struct.pack("<I", place + len(values))
            values += raw
        else:
            entries += raw.ljust(4, b"\0")
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)
    return struct.pack("<2sHI", b"II", 42, start) + body + directory + values


def rgb_tiff(width: int, height: int, body: bytes, *, compression: int = 8, **more: Sequence[int]) -> bytes:
    """An RGB TIFF whose one strip or tile is `body`; `more` adds or replaces tags by `_<number>`, as long numbers."""
    tags: dict[int, tuple[int, Sequence[int]]] = {
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [8, 8, 8]),
        259: (SHORT, [compression]),
        262: (SHORT, [2]),
        277: (SHORT, [3]),
    }
    if "_322" in more:  # tiled
        tags |= {324: (LONG, [8]), 325: (LONG, [len(body)])}
    else:
        tags |= {273: (LONG, [8]), 278: (LONG, [height]), 279: (LONG, [len(body)])}
    tags |= {int(name[1:]): (LONG, numbers) for name, numbers in more.items()}
    return tiff(tags, body)


def tile_bomb(side: int) -> bytes:
    """A TIFF of 100 x 100 pixels in one tile of `side` x `side`, for each of which its decoder sets aside 3 bytes."""
    return rgb_tiff(100, 100, zlib.compress(bytes(1000)), _322=[side], _323=[side])


def scan_bomb(progressive: bytes, scans: int) -> bytes:
    """A progressive JPEG with its last scan repeated: a few bytes, and a pass over all pixels, for each."""
    last = progressive[progressive.rindex(b"\xff\xda") : -2]
    return progressive[:-2] + last * scans + b"\xff\xd9"


def ycck_jpeg(picture: Image.Image, profile: bytes | None = None) -> bytes:
    """A JPEG of four channels as Photoshop writes them: the first three as YCbCr, all inverted, no black ink."""
    ink = ImageChops.invert(picture.convert("RGB")).convert("YCbCr")
    inverted = [ImageChops.invert(channel) for channel in ink.split()]  # Pillow inverts them once more on saving
    buffer = BytesIO()
    image = Image.merge("CMYK", [*inverted, Image.new("L", picture.size, 0)])
    image.save(buffer, "JPEG", quality=95, subsampling=0, icc_profile=profile)
    data = bytearray(buffer.getvalue())
    data[data.index(b"Adobe") + 11] = 2  # the transform: 0 is CMYK
    return bytes(data)


def without_times(film: bytes) -> bytes:
    """An AVIF sequence whose boxes do not say when it was made."""
    data = bytearray(film)
    for box in (b"mvhd", b"tkhd", b"mdhd"):
        at = data.index(box) + 8  # behind the version and the flags
        size = 16 if data[at - 4] == 1 else 8
        data[at : at + size] = bytes(size)
    return bytes(data)


def srgb_profile() -> bytes:
    """sRGB, without the time at which it was made."""
    raw = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return raw[:24] + bytes(12) + raw[36:]


def linear_profile() -> bytes:
    """sRGB's primaries with straight tone curves: linear light, in which 128 is a light grey (188 in sRGB)."""
    raw = bytearray(srgb_profile())
    for index in range(struct.unpack_from(">I", raw, 128)[0]):
        tag, offset, size = struct.unpack_from(">4sII", raw, 132 + 12 * index)
        if tag in (b"rTRC", b"gTRC", b"bTRC"):
            raw[offset : offset + size] = (b"curv" + bytes(8)).ljust(size, b"\0")
    return bytes(raw)


def linear_grey_profile() -> bytes:
    """A grey profile in linear light: a white point and one straight curve."""
    white = b"XYZ " + bytes(4) + _D50
    return profile(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": white, b"kTRC": b"curv" + bytes(8)})


def ink_profile() -> bytes:
    """A CMYK profile of two nodes an ink, to Lab: full cyan is (55, -37, -50), each ink darkens by itself."""
    inks = {0: (55, -37, -50), 1: (48, 74, -3), 2: (89, -5, 93), 3: (16, 0, 0)}
    nodes = b""
    for corner in range(16):  # the first ink varies slowest
        light, a, b = 100.0, 0.0, 0.0
        for ink, colour in inks.items():
            if corner >> (3 - ink) & 1:
                light, a, b = light * colour[0] / 100, a + colour[1], b + colour[2]
        nodes += bytes([round(light * 2.55), *(min(255, max(0, round(each) + 128)) for each in (a, b))])
    ramp = bytes(range(256))
    identity = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x10000)
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + nodes + ramp * 3
    return profile(b"prtr", b"CMYK", b"Lab ", {b"wtpt": b"XYZ " + bytes(4) + _D50, b"A2B0": table})


def profile(device: bytes, space: bytes, connection: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    """An ICC profile, version 2.4."""
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        data = data.ljust(-(-len(data) // 4) * 4, b"\0")
        table += struct.pack(">4sII", name, 128 + 4 + 12 * len(tags) + len(body), len(data))
        body += data
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"", 0x02400000, device, space, connection).ljust(36, b"\0") + b"acsp"
    return head.ljust(68, b"\0") + _D50 + bytes(48) + table + body
