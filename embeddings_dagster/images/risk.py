"""Which pictures are decoded in a process of their own, told by their bytes before any decoder sees them.

What stays is what piles are made of: JPEG, PNG and still WebP of ordinary size. Their decoders are old, fuzzed for
years and silent, and what they take is bounded by the limits below: the worst that the hostile set and a search by hand
found within them takes 2.7 seconds of one core (a PNG of 1 x 25,000,000 pixels; other shapes 1.8), and 40 bytes of
memory a pixel, a gigabyte in all. Everything else is rare enough for the millisecond that the way to another process
costs:

- TIFF: libtiff believes its tags, allocates what they say, and prints to the error stream of the process.
- AVIF: a film codec, young, with threads of its own.
- GIF, BMP, PPM: Pillow walks their blocks, runs and odd depths in Python, at a microsecond or more for each.
- Animations: WebP keeps two canvases of the size that the header claims.
- Of the ordinary kinds those beyond a limit: each is a known way of making few bytes cost much.
"""

import struct
import zlib
from collections.abc import Callable

from embeddings_dagster.images import png
from embeddings_dagster.images.formats import JPEG, PNG, WEBP, Format, detect

MAX_BYTES = 8 * 2**20
MAX_PIXELS = 25_000_000
MAX_PROFILE_BYTES = 2**18  # of a colour profile: building a transform from a long pipeline takes seconds a megabyte
MAX_SEGMENTS = 500  # before the pixels of a JPEG; cameras write about thirty, large profiles and maps a hundred
MAX_SCANS = 40  # of a progressive JPEG, each a pass over all pixels; encoders write ten
MAX_CHUNKS = 4096  # of a PNG; the shortest that encoders write hold 8 kB

_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN, _APP2 = 0xDA, 0xE2
_ANIMATED, _PROFILE = 0x02, 0x20  # flags of a WebP


def risk(data: bytes) -> str:
    """Why the picture in `data` calls for a process of its own; empty where it does not, or is no picture at all."""
    kind = detect(data)
    if kind is None:
        return ""
    look = _LOOKS.get(kind)
    if look is None:
        return f"is {kind.name}"
    return "has many bytes" if len(data) > MAX_BYTES else look(data)


def _jpeg(data: bytes) -> str:
    """Walks the segments up to the first scan. Where they end too early there is nothing to decode."""
    position, profile = 2, 0
    for _ in range(MAX_SEGMENTS):
        if position + 10 > len(data):
            return ""
        mark, marker, length = struct.unpack_from(">BBH", data, position)
        if mark != 0xFF or length < 2 or marker in (0x00, 0xFF):
            return "has bytes between its segments"
        if marker == _SCAN:
            return "has many scans" if data.count(b"\xff\xda", position) > MAX_SCANS else ""
        if marker in _FRAME_HEADERS:
            height, width = struct.unpack_from(">HH", data, position + 5)
            if width * height > MAX_PIXELS:
                return "has many pixels"
        if marker == _APP2 and data.startswith(b"ICC_PROFILE\0", position + 4):
            profile += length
            if profile > MAX_PROFILE_BYTES:
                return "has a large profile"
        position += 2 + length
    return "has many segments"


def _png(data: bytes) -> str:
    if len(data) < 24:
        return ""
    width, height = struct.unpack_from(">II", data, 16)
    if width * height > MAX_PIXELS:
        return "has many pixels"
    for number, chunk in enumerate(png.chunks(data)):
        if number >= MAX_CHUNKS:
            return "has many chunks"
        if chunk.kind == b"iCCP" and _unpacks_beyond(data[chunk.start + 8 : chunk.end], MAX_PROFILE_BYTES):
            return "has a large profile"
    return ""


def _unpacks_beyond(profile: bytes, limit: int) -> bool:
    packed = profile.partition(b"\0")[2][1:]  # name, zero, method
    try:
        return len(zlib.decompressobj().decompress(packed, limit + 1)) > limit
    except zlib.error:
        return False


def _webp(data: bytes) -> str:
    if len(data) < 38:
        return ""
    kind = data[12:16]
    if kind == b"VP8X":
        flags = data[20]
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        if flags & _ANIMATED:
            return "is animated"
        if flags & _PROFILE and int.from_bytes(data[34:38], "little") > MAX_PROFILE_BYTES:
            return "has a large profile"
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (each & 0x3FFF for each in struct.unpack_from("<HH", data, 26))
    return "has many pixels" if width * height > MAX_PIXELS else ""


_LOOKS: dict[Format, Callable[[bytes], str]] = {JPEG: _jpeg, PNG: _png, WEBP: _webp}
