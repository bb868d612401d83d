"""What the bytes of an answer are, by their beginning: whatever its headers and its address call them.

The kinds are those that `images.formats` decodes; it alone judges whether a picture is whole.
"""

import re

HEAD_BYTES = 80  # enough for every pattern here

_PICTURES = (
    (re.compile(rb"\xff\xd8\xff"), ".jpg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), ".png"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), ".webp"),
    (re.compile(rb"GIF8[79]a"), ".gif"),
    (re.compile(rb"BM"), ".bmp"),
    (re.compile(rb"II[\x2a\x2b]\x00|MM\x00[\x2a\x2b]"), ".tif"),
    (re.compile(rb"....ftyp.{0,60}?avi[fs]", re.DOTALL), ".avif"),
    (re.compile(rb"P[4-6][\s#]"), ".ppm"),
)
EXTENSIONS = frozenset(extension for _, extension in _PICTURES)

_OTHERS = (
    (re.compile(rb"(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)?<(!doctype html|html|head|body)", re.I | re.S), "a web page"),
    (re.compile(rb"(\xef\xbb\xbf)?\s*(<\?xml|<!doctype svg|<svg)", re.IGNORECASE), "SVG or XML, which has no pixels"),
    (re.compile(rb"%PDF"), "a PDF"),
    (re.compile(rb"\s*[{\[]"), "JSON, perhaps an error message"),
    (re.compile(rb"....ftyp(hei|hev|mif1|msf1)", re.DOTALL), "a HEIC picture"),
    (re.compile(rb"....ftyp|\x1aE\xdf\xa3", re.DOTALL), "a film"),
    (re.compile(rb"8BPS"), "a Photoshop document"),
    (re.compile(rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51"), "JPEG 2000"),
    (re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL "), "JPEG XL"),
    (re.compile(rb"\x00\x00[\x01\x02]\x00"), "a Windows icon or cursor"),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive"),
    (re.compile(rb"\x1f\x8b"), "something compressed with gzip"),
    (re.compile(rb"\x00+$"), "nothing but zero bytes"),
)


def extension_of(data: bytes) -> str | None:
    """The extension of the kind of picture that `data` begins like; None if of none."""
    head = data[:HEAD_BYTES]
    return next((extension for magic, extension in _PICTURES if magic.match(head)), None)


def describe(data: bytes) -> str:
    """What bytes that are no picture seem to be, with the first of them, harmless to print."""
    head = data[:HEAD_BYTES]
    if not head:
        return "nothing at all"
    named = next((name for magic, name in _OTHERS if magic.match(head)), "no kind of picture known here")
    return f"{named} ({head[:24]!r}{'…' if len(data) > 24 else ''})"
