"""What a picture's header says, without decoding a pixel."""

from dataclasses import dataclass

from embeddings_dagster.images.opening import Opened, naming_errors, open_header
from embeddings_dagster.images.rules import DecodeRules
from embeddings_dagster.images.upright import sizes


@dataclass(frozen=True)
class Probe:
    """`width` and `height` are those of the stored pixels; `upright` is (width, height) of the decoded picture, which
    has them swapped where EXIF says so.

    `passthrough`: RGB bytes that are kept as they are, provided that all of the file decodes.
    """

    format: str
    mode: str
    width: int
    height: int
    upright: tuple[int, int]
    passthrough: bool


def probe(data: bytes, rules: DecodeRules) -> Probe:
    """Format, mode and size as the header gives them; a truncated file may pass here and fail when it is decoded.

    Raises:
        ImageError: of no accepted format, too many bytes or pixels, or with a header that cannot be read.
    """
    opened = open_header(data, rules)
    with naming_errors(opened.name):
        stored, upright = sizes(opened)
    return Probe(opened.name, opened.image.mode, *stored, upright, passes_through(opened))


def passes_through(opened: Opened) -> bool:
    """Whether the file's own bytes are 8-bit RGB without transparency, one frame, in a format any reader opens.

    Orientation and colour profile are no hindrance: they stay in the bytes, and `decode` applies them. A JPEG with a
    second picture behind it (MPO: a depth or gain map of a phone) counts as one frame, since JPEG readers show the
    first and most never see the other.
    """
    return (
        opened.format.universal
        and not opened.repaired
        and opened.depth == 8
        and opened.image.mode == "RGB"
        and "transparency" not in opened.image.info
        and not opened.animated
    )
