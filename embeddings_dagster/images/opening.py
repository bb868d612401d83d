"""Opening bytes that strangers wrote: caps, the allowlist, and one place where every Pillow exception gets a name.

Whatever the bytes are, these functions return a picture or raise an `ImageError` that says the format and the reason.
No pixel is decoded before the caps have been checked. All state belongs to the call, so any number of threads may
decode at once.

Pillow's own bomb limit is not touched, because it is a setting of the whole process: the plugins of the allowlist are
called directly, past `Image.open`, and the cap of the rules is checked instead. Its warnings are silenced: what they
speak of is harmless (a damaged EXIF entry, a malformed APNG or MPO that is read as its first picture) or ends as an
error as well. libtiff prints to the error stream of the process, which no thread can redirect for itself: such
formats are opened in a process of their own (see `workshop`).
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO

from PIL import Image, ImageFile

from embeddings_dagster.errors import (
    DecodeFailed,
    DecodeOutOfMemory,
    FormatNotAllowed,
    ImageError,
    TooManyBytes,
    TooManyPixels,
)
from embeddings_dagster.images import png
from embeddings_dagster.images.formats import JPEG, PNG, WEBP, Format, describe_stranger, detect
from embeddings_dagster.images.rules import DecodeRules

# These are settings of the process, and so are made once, here. The first is Pillow's default, pinned because a
# truncated picture would otherwise end as a half-grey one; the second covers the plugins' warnings alone. The third
# lets Pillow keep some memory for the next picture, at most 16 MiB each: given back to the system and asked for anew
# it costs a photo of a megapixel a third of all its time in page faults.
ImageFile.LOAD_TRUNCATED_IMAGES = False
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.\w+ImagePlugin")
if "PILLOW_BLOCKS_MAX" not in os.environ:
    Image.core.set_blocks_max(8)  # type: ignore[attr-defined]  # described with the variable, but not typed

# How decoders that do not raise MemoryError say it: Pillow's codec status -9, libwebp, libavif.
_SIGNS_OF_MEMORY = ("decoder error -9", "out of memory")


@dataclass(frozen=True)
class Opened:
    """A picture of an accepted format.

    `depth` is the bits per sample that a PNG announces (8 elsewhere): Pillow does not tell them apart by mode.
    `repaired`: it opens only without some of the file's chunks, so its bytes are not for other readers.
    """

    image: ImageFile.ImageFile
    format: Format
    depth: int
    repaired: bool

    @property
    def animated(self) -> bool:
        """More than one frame, by the headers of PNG and WebP. Elsewhere False: no one needs it, and counting would
        walk through damaged files."""
        return self.format in (PNG, WEBP) and getattr(self.image, "n_frames", 1) > 1

    @property
    def name(self) -> str:
        """The format as users know it, `MPO` included."""
        return self.image.format or self.format.name


def open_header(data: bytes, rules: DecodeRules) -> Opened:
    """Read the header alone; no pixel is decoded.

    Raises:
        ImageError: too large, of no accepted format, or malformed.
    """
    return _open(data, rules, load=False)


def load(data: bytes, rules: DecodeRules, *, at_least: int = 0) -> Opened:
    """Open and decode the first frame, in whatever mode the file has.

    With `at_least`, a JPEG may come at a half, a quarter or an eighth of its size, while its short side stays that
    long: its decoder then leaves out work. The caps are those of its full size.

    Raises:
        ImageError: too large, of no accepted format, malformed or truncated.
    """
    return _open(data, rules, load=True, at_least=at_least)


@contextmanager
def naming_errors(format_name: str) -> Iterator[None]:
    """Turn whatever the decoders raise into an `ImageError` that names the format and the reason."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise _out_of_memory(format_name) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixels(
            f"{format_name}: {_reason(error)}; raise rgb.max_pixels and run with --retry-failed, or replace the picture"
        ) from error
    except Exception as error:  # decoders raise a dozen classes on damaged bytes, and new ones with each release
        if any(sign in str(error).lower() for sign in _SIGNS_OF_MEMORY):
            raise _out_of_memory(format_name) from error
        raise DecodeFailed(
            f"{format_name}: {_reason(error)}; the file is damaged or of a variant that cannot be read: "
            "replace it, or save it again as PNG or JPEG"
        ) from error


def _out_of_memory(format_name: str) -> DecodeOutOfMemory:
    return DecodeOutOfMemory(f"{format_name}: not enough memory to decode it; free some, or lower rgb.max_pixels")


def _open(data: bytes, rules: DecodeRules, *, load: bool, at_least: int = 0) -> Opened:
    if len(data) > rules.max_bytes:
        raise TooManyBytes(f"{len(data):,} bytes are more than rgb.max_bytes = {rules.max_bytes:,}; raise it to accept")
    kind = detect(data)
    if kind is None:
        what = describe_stranger(data) if data else "the file is empty"
        raise FormatNotAllowed(f"not a picture of an accepted format: {what}")
    data = png.metadata_first(data) if kind is PNG else data
    try:
        return _attempt(data, kind, rules, load=load, at_least=at_least)
    except DecodeFailed:
        essential = png.essential_chunks(data) if kind is PNG else data
        if essential == data:
            raise
        return replace(_attempt(essential, kind, rules, load=load), repaired=True)


def _attempt(data: bytes, kind: Format, rules: DecodeRules, *, load: bool, at_least: int = 0) -> Opened:
    with naming_errors(kind.name):
        image = kind.open(BytesIO(data))
        _check_size(image, kind.name, rules)
        if load:
            if at_least and kind is JPEG:
                image.draft(None, (at_least, at_least))
            image.load()
            _check_size(image, kind.name, rules)
    depth = png.bit_depth(data) if kind is PNG else 8
    return Opened(image, kind, depth, repaired=False)


def _check_size(image: Image.Image, format_name: str, rules: DecodeRules) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise DecodeFailed(f"{format_name}: {width} x {height} pixels: there is nothing to see; replace the file")
    if width * height > rules.max_pixels:
        raise TooManyPixels(
            f"{format_name}: {width:,} x {height:,} pixels are more than rgb.max_pixels = {rules.max_pixels:,}; "
            "raise it and run with --retry-failed, or replace the picture by a smaller one"
        )


def one_line(text: str) -> str:
    """What a library said, as one printable line of bounded length."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split())[:200])


def _reason(error: BaseException) -> str:
    return one_line(str(error)) or type(error).__name__
