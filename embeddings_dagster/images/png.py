"""The little of PNG's chunk structure that Pillow keeps to itself."""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

_SIGNATURE = 8
_DEPTH_OFFSET = 24  # signature, IHDR's length and type, width, height
# tRNS is part of the picture; eXIf may hold its orientation, and so may text. Other lower-case chunks are about it.
_TRANSPARENCY, _EXIF = b"tRNS", b"eXIf"
_MAY_TURN = (_EXIF, b"tEXt", b"zTXt", b"iTXt")
_PIXELS = (b"IDAT", b"fdAT")


class Chunk(NamedTuple):
    """`start` is where its length stands, `end` where the next chunk begins."""

    kind: bytes
    start: int
    end: int


def bit_depth(data: bytes) -> int:
    """Bits per sample: 1, 2, 4, 8 or 16."""
    return data[_DEPTH_OFFSET] if len(data) > _DEPTH_OFFSET else 8


def metadata_first(data: bytes) -> bytes:
    """`data` with the metadata that stands behind the pixels moved before them; `data` itself where none does.

    Many programs write it last. So the orientation is known without decoding, and does not depend on how far a decoder
    read. A checksum that is wrong back there, where Pillow looks at none, stays without consequence.
    """
    first = None
    late = []
    for chunk in chunks(data):
        if first is None and chunk.kind in _PIXELS:
            first = chunk.start
        elif first is not None and chunk.kind in _MAY_TURN:
            late.append(chunk)
    if first is None or not late:
        return data
    parts, rest = [data[:first]], first
    parts += [_with_right_sum(data, chunk) for chunk in late]
    for chunk in late:
        parts.append(data[rest : chunk.start])
        rest = chunk.end
    return b"".join([*parts, data[rest:]])


def essential_chunks(data: bytes) -> bytes:
    """`data` without the chunks that do not change a pixel.

    A PNG whose text or colour profile has a wrong checksum, or unpacks to more than Pillow's limit of a megabyte, is
    whole as a picture. Without the profile its colours are taken as sRGB. EXIF is kept where its checksum is right.
    """
    parts = [data[:_SIGNATURE]]
    for chunk in chunks(data):
        ancillary = chunk.kind[:1].islower()
        sound = chunk.kind == _EXIF and data[chunk.start : chunk.end] == _with_right_sum(data, chunk)
        if not ancillary or chunk.kind == _TRANSPARENCY or sound:
            parts.append(data[chunk.start : chunk.end])
    return b"".join(parts)


def chunks(data: bytes) -> Iterator[Chunk]:
    """Every chunk; the last may be cut off by the end of the file, which is left to the decoder to refuse."""
    position = _SIGNATURE
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        end = min(position + 12 + length, len(data))
        yield Chunk(data[position + 4 : position + 8], position, end)
        position = end


def _with_right_sum(data: bytes, chunk: Chunk) -> bytes:
    body = data[chunk.start : chunk.end - 4]
    return body + zlib.crc32(body[4:]).to_bytes(4, "big")
