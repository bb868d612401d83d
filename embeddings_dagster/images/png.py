"""The little of PNG's chunk structure that Pillow keeps to itself."""

from collections.abc import Iterator
from typing import NamedTuple

_SIGNATURE = 8
_DEPTH_OFFSET = 24  # signature, IHDR's length and type, width, height
# tRNS is part of the picture and eXIf may hold its orientation; all other lower-case chunks are about it.
_KEPT = (b"tRNS", b"eXIf")


class Chunk(NamedTuple):
    kind: bytes
    start: int
    end: int


def bit_depth(data: bytes) -> int:
    """Bits per sample: 1, 2, 4, 8 or 16."""
    return data[_DEPTH_OFFSET] if len(data) > _DEPTH_OFFSET else 8


def essential_chunks(data: bytes) -> bytes:
    """`data` without the chunks that do not change a pixel.

    A PNG whose text or colour profile has a wrong checksum, or unpacks to more than Pillow's limit of a megabyte, is
    whole as a picture. Without the profile its colours are taken as sRGB.
    """
    parts = [data[:_SIGNATURE]]
    for chunk in _chunks(data):
        ancillary = chunk.kind[:1].islower()
        if not ancillary or chunk.kind in _KEPT:
            parts.append(data[chunk.start : chunk.end])
    return b"".join(parts)


def _chunks(data: bytes) -> Iterator[Chunk]:
    """Every chunk; the last may be cut off by the end of the file, which is left to the decoder to refuse."""
    position = _SIGNATURE
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        end = min(position + 12 + length, len(data))
        yield Chunk(data[position + 4 : position + 8], position, end)
        position = end
