"""Identity: how sources, batches, images and regions are named.

`image_id = <source>:<local id>`, and `#<ordinal>` after it from ordinal 1 on. In local ids `%`, `#`, control characters
and bytes that are not UTF-8 are percent-encoded, so that an id is always printable, is one string per picture, and can
be turned back into the bytes of the file's name.
"""

import os
import re
from typing import Final, Literal, NamedTuple

SOURCE_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
BATCH_KEY = re.compile(r"[A-Za-z0-9_.-]+")

Regions = Literal["all", "whole", "parts"]  # whole pictures (region 0), parts of them, or both
ALL: Final = "all"
WHOLE: Final = "whole"
PARTS: Final = "parts"


class Key(NamedTuple):
    """The key of a row everywhere: an image and a region of it (0 = the whole image)."""

    image_id: str
    region: int


class ImageRef(NamedTuple):
    """The parts of an `image_id`."""

    source: str
    local_id: str
    ordinal: int


def is_source_name(name: str) -> bool:
    return SOURCE_NAME.fullmatch(name) is not None


def is_batch_key(key: str) -> bool:
    """Whether `key` may be a partition key. Dagster reads `...` as a range, so it is never part of one."""
    source, separator, batch = key.partition("__")
    return bool(separator and batch and is_source_name(source) and BATCH_KEY.fullmatch(batch) and "..." not in key)


def batch_key(source: str, batch: str) -> str:
    """`<source>__<batch>`.

    Raises:
        ValueError: the result would not be a valid partition key.
    """
    key = f"{source}__{batch}"
    if not is_batch_key(key):
        raise ValueError(f"{key!r} is not a batch key: a source name, '__', then letters, digits, '_', '.', '-' only")
    return key


def source_of(key: str) -> str:
    """The source's name in a batch key or an image id."""
    return re.split("__|:", key, maxsplit=1)[0]


def _must_escape(character: str) -> bool:
    code = ord(character)
    return character in "%#" or code < 0x20 or 0x7F <= code <= 0x9F or character in "\u2028\u2029"


def escape_local_id(name: str) -> str:
    """A file's relative POSIX path (as Python decodes it, surrogates for bytes that are not UTF-8) as a local id."""
    if name.isascii() and name.isprintable() and "%" not in name and "#" not in name:
        return name
    out = []
    for character in name:
        if "\udc80" <= character <= "\udcff":
            out.append(f"%{ord(character) - 0xDC00:02X}")
        elif _must_escape(character) or "\ud800" <= character <= "\udfff":
            out.extend(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
        else:
            out.append(character)
    return "".join(out)


def unescape_local_id(local_id: str) -> str:
    """The inverse of `escape_local_id`: the name as Python's os functions take it."""
    if "%" not in local_id:
        return local_id
    raw = re.sub(
        rb"%([0-9A-Fa-f]{2})", lambda match: bytes([int(match[1], 16)]), local_id.encode("utf-8", "surrogateescape")
    )
    return os.fsdecode(raw)


def image_id(source: str, local_id: str, ordinal: int = 0) -> str:
    """The id of one picture. `local_id` is already escaped; ordinals count an item's pictures from 0."""
    return f"{source}:{local_id}" if ordinal == 0 else f"{source}:{local_id}#{ordinal}"


def parse_image_id(text: str) -> ImageRef:
    """The parts of an id.

    Raises:
        ValueError: `text` has no source or a broken ordinal.
    """
    source, separator, rest = text.partition(":")
    local_id, hash_sign, ordinal = rest.partition("#")
    if not separator or not is_source_name(source) or not local_id or (hash_sign and not ordinal.isdecimal()):
        raise ValueError(f"{text!r} is not an image id: expected SOURCE:LOCAL_ID or SOURCE:LOCAL_ID#ORDINAL")
    return ImageRef(source, local_id, int(ordinal) if hash_sign else 0)


def natural_key(text: str) -> str:
    """Sort key for natural order: `2.png` before `10.png`. Numbers may have any number of digits; one string, since of
    a million keys each would else be a dozen objects."""
    return "".join(_piece_key(piece) for piece in re.split(r"([0-9]+)", text) if piece)


def _piece_key(piece: str) -> str:
    """A number sorts by how many digits it has, then by them; before any text, which ends before all that goes on."""
    if not (piece.isdecimal() and piece.isascii()):
        return f"1{piece}\0"
    digits = piece.lstrip("0")
    return f"0{chr(len(digits))}{digits}"
