"""Names of cached files: any id becomes a name that every common file system accepts, as alike to the id as can be."""

import hashlib
import re
import unicodedata

# Names of at most 255 bytes are allowed nearly everywhere; what an extension and a distinguishing mark need is left.
_MOST_BYTES = 225
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\u2028\u2029\ud800-\udfff]')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)")


def stem_of(name: str) -> str:
    """The name of a picture's file, short of its extension. Equal for equal names; see `mark` for those that collide.

    Safe on Windows, macOS and Linux: no separators or control characters, no device names, no dot or space at an end
    that would be dropped or hide the file.
    """
    stem = _UNSAFE.sub(lambda match: _percent(match[0]), name)
    if stem.startswith("."):
        stem = "%2E" + stem[1:]
    if stem.endswith((".", " ")):
        stem = stem[:-1] + _percent(stem[-1])
    if not stem or _RESERVED.match(stem):
        stem = (_percent(stem[0]) if stem else "%") + stem[1:]
    data = stem.encode()
    if len(data) > _MOST_BYTES:
        return mark(data[: _MOST_BYTES - 13].decode(errors="ignore"), name)
    return stem


def mark(stem: str, name: str) -> str:
    """`stem`, told apart from another id's by a few digits of the hash of `name`."""
    return f"{stem}~{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def slot_of(stem: str) -> str:
    """Equal for stems that some disks take to be one: those differing in case or in their Unicode form alone."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", stem).casefold())


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
