"""The decoder allowlist: which kinds of file are pictures here, told by their first bytes and never by their name.

Pillow knows forty formats more. Each is a parser that strangers' files would reach, so what is not listed is refused.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.ImageFile import ImageFile


@dataclass(frozen=True)
class Format:
    """A kind of picture. `universal`: browsers, viewers and any imaging library open it, so its bytes may be kept."""

    name: str
    extension: str
    open: Callable[[BytesIO], ImageFile]
    universal: bool = False


JPEG = Format("JPEG", ".jpg", JpegImagePlugin.jpeg_factory, universal=True)  # MPO too: its first picture is a JPEG
PNG = Format("PNG", ".png", PngImagePlugin.PngImageFile, universal=True)
WEBP = Format("WEBP", ".webp", WebPImagePlugin.WebPImageFile, universal=True)
GIF = Format("GIF", ".gif", GifImagePlugin.GifImageFile)
BMP = Format("BMP", ".bmp", BmpImagePlugin.BmpImageFile)  # could be kept, but is three to ten times its size as WebP
TIFF = Format("TIFF", ".tif", TiffImagePlugin.TiffImageFile)
AVIF = Format("AVIF", ".avif", AvifImagePlugin.AvifImageFile)  # too young: many readers of today still refuse it
PPM = Format("PPM", ".ppm", PpmImagePlugin.PpmImageFile)
FORMATS = (JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF, PPM)

_MAGIC = (
    (re.compile(rb"\xff\xd8\xff"), JPEG),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), PNG),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), WEBP),
    (re.compile(rb"GIF8[79]a"), GIF),
    (re.compile(rb"BM"), BMP),
    (re.compile(rb"II[\x2a\x2b]\x00|MM\x00[\x2a\x2b]"), TIFF),
    (re.compile(rb"....ftyp.{0,60}?avi[fs]", re.DOTALL), AVIF),
    (re.compile(rb"P[4-6][\s#]"), PPM),  # P1 to P3 are text, which Pillow parses in Python: minutes for a large one
)


def _markup(start: bytes) -> re.Pattern[bytes]:
    """Text that begins so, behind a byte-order mark and white space."""
    return re.compile(rb"(\xef\xbb\xbf)?\s*" + start, re.IGNORECASE)


# Not decodable here, but met often enough that a message should say what it is.
_STRANGERS = (
    (re.compile(rb"....ftyp(hei[cfmsx]|hev[cmsx]|mif1|msf1)", re.DOTALL), "a HEIC picture; export it as JPEG"),
    (re.compile(rb"....ftyp", re.DOTALL), "a film, or a picture of a film codec; export it as JPEG"),
    (
        _markup(rb"<(!doctype html|html|head|body|script|meta|title)"),
        "a web page, perhaps an error page saved as a picture",
    ),
    (_markup(rb"<(\?xml|svg|!--|!doctype)"), "SVG or XML, which has no pixels; export it as PNG"),
    (re.compile(rb"%PDF"), "a PDF; export its pages as PNG"),
    (re.compile(rb"%!PS|\xc5\xd0\xd3\xc6"), "PostScript; export it as PNG"),
    (re.compile(rb"P[1-3][\s#]"), "a picture written as text (plain PNM); save it as PNG"),
    (re.compile(rb"8BPS"), "a Photoshop document; export it as PNG"),
    (re.compile(rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51"), "JPEG 2000; export it as JPEG or PNG"),
    (re.compile(rb"\x00\x00\x00\x0cJXL |\xff\x0a"), "JPEG XL; export it as JPEG or PNG"),
    (re.compile(rb"\xff\xd8"), "the beginning of a JPEG, and then something else; replace it"),
    (re.compile(rb"v/1\x01|#\?(RADIANCE|RGBE)"), "a picture of high dynamic range; export it as JPEG or PNG"),
    (re.compile(rb"FUJIFILMCCD-RAW|II(RO|RS|U\x00)|MMOR"), "a camera's raw file; export it as JPEG"),
    (re.compile(rb"gimp xcf"), "a GIMP document; export it as PNG"),
    (re.compile(rb"DDS |icns|qoif|\x59\xa6\x6a\x95"), "a picture of a format that is not accepted; export it as PNG"),
    (re.compile(rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!"), "an archive; unpack it"),
    (re.compile(rb"\x1aE\xdf\xa3|RIFF....(AVI |WAVE)|ID3|OggS", re.DOTALL), "sound or film"),
    (_markup(rb"[{\[]"), "JSON or the like, perhaps an answer saved as a picture"),
    (re.compile(rb"\x00\x00[\x01\x02]\x00"), "a Windows icon or cursor; export it as PNG"),
    (re.compile(rb"\x00*$"), "nothing but zero bytes"),
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer; fetch the real file with 'git lfs pull'"),
)


def detect(data: bytes) -> Format | None:
    """The format that the first bytes of `data` announce; None when it is none of the allowlist."""
    head = data[:80]
    return next((kind for magic, kind in _MAGIC if magic.match(head)), None)


def describe_stranger(data: bytes) -> str:
    """What bytes of no accepted format seem to be, for an error message."""
    head = data[:80]
    named = next((name for magic, name in _STRANGERS if magic.match(head)), None)
    return named or f"it begins with {head[:8].hex(' ')}"
