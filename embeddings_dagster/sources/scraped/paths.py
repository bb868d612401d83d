"""What a path in a scraped record may mean; pure, the disk is not looked at.

A scraper writes paths relative to where it was started, to its output folder or to the batch, with `/` or `\\`, or
whole ones of the machine it ran on. Every reading stays within the root: what names a file above or outside of it, a
device or an address, is refused.
"""

import os
import re

from embeddings_dagster.errors import BadRecord
from embeddings_dagster.ids import escape_local_id
from embeddings_dagster.sources.scraped.names import IMAGES, STAMPED

_LONGEST = 4_096  # bytes of a path that Linux opens
_SHOWN = 80
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_DRIVE = re.compile(r"[A-Za-z]:")
_DEVICES = frozenset(
    {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(10))}
)


class PathReader:
    """Reads the paths in the records of a source whose folder is `roots`: as it is configured and as it really is."""

    def __init__(self, roots: tuple[str, ...]) -> None:
        self._roots = tuple(dict.fromkeys(tuple(_split(root)) for root in roots))

    def readings(self, path: str, folder: str, item_id: str = "") -> list[str]:
        """The files that a path may mean, relative to the root, in the order in which they are to be tried.

        Relative paths start at the batch's folder (`folder`, relative to the root), the folder above it, the root, or
        any folder above the root, in which the scraper may have been started. Whole paths are those of a file within
        the root, or what they were before the root or the batch was moved: the names from its own name on. Last comes
        `images/<item_id>/…` in the batch's folder, whatever that was called when the path was written.

        Raises:
            BadRecord: the path may mean no file within the root.
        """
        parts, is_whole = _parts(path)
        inside = folder.split("/") if folder else []
        found: list[list[str]] = []
        if is_whole:
            for root in self._roots:
                if tuple(parts[: len(root)]) == root and len(parts) > len(root):
                    found.append(parts[len(root) :])
            found += [[*inside, *tail] for tail in _tails(parts, inside[-1:])]
            found += [tail for root in self._roots for tail in _tails(parts, root[-1:])]
            found += _own(parts, inside, item_id)
            if not found:
                raise BadRecord(f"{shown(path)} lies outside of the source's folder")
        else:
            found = [[*inside, *parts]]
            if inside and STAMPED.fullmatch(inside[-1]):
                found += [[*inside, *tail] for tail in _tails(parts, inside[-1:])]
            found += [[*inside[:-1], *parts], parts, *self._from_above(parts), *_own(parts, inside, item_id)]
        return list(dict.fromkeys("/".join(each) for each in found))

    def home(self, readings: list[str], folder: str) -> str:
        """Which of the readings to expect the file at, where it is at none of them yet."""
        inside = f"{folder}/" if folder else ""
        if not inside or not readings[0].startswith(inside):
            return readings[0]
        # `batch_x/images/1.jpg` in batch_x: its folder is named twice otherwise.
        return next((each for each in readings[1:] if each.startswith(inside)), readings[0])

    def _from_above(self, parts: list[str]) -> list[list[str]]:
        """Readings from the folders above the root: the path begins with the last names of the root's own path."""
        out = []
        for root in self._roots:
            for names in range(1, min(len(root), len(parts) - 1) + 1):
                if root[-names:] == tuple(parts[:names]):
                    out.append(parts[names:])
        return out


def shown(path: str) -> str:
    """A path as a message repeats it: printable, and not for ever."""
    text = escape_local_id(path[:_SHOWN])
    return f"'{text}'" if len(path) <= _SHOWN else f"'{text}…'"


def is_folder_name(name: str) -> bool:
    """Whether an item's id may be looked for as a folder, or, with `/` in it, as folders."""
    try:
        parts, is_whole = _parts(name)
    except BadRecord:
        return False
    return not is_whole and "/".join(parts) == name and all(len(os.fsencode(part)) <= 255 for part in parts)


def _parts(path: str) -> tuple[list[str], bool]:
    """The names in a path, and whether it starts at a root of the machine."""
    try:
        too_long = len(os.fsencode(path)) > _LONGEST
    except UnicodeEncodeError:
        raise BadRecord(f"{shown(path)} holds half a character") from None
    if "\0" in path or too_long or _ADDRESS.match(path):
        reason = "is an address" if _ADDRESS.match(path) else "is no path that a disk knows"
        raise BadRecord(f"{shown(path)} {reason}")
    text = path.replace("\\", "/")
    drive = _DRIVE.match(text)
    if drive:
        text = text[2:]
        if not text.startswith("/"):
            raise BadRecord(f"{shown(path)} is relative to a drive")
    parts = _split(text)
    # Windows takes dots and spaces off the end of a name, so that `.. ` is `..` there.
    if not parts or any(not part.rstrip(". ") for part in parts):
        raise BadRecord(f"{shown(path)} leads upwards" if parts else f"{shown(path)} names no file")
    if any(part.partition(".")[0].rstrip().upper() in _DEVICES for part in parts):
        raise BadRecord(f"{shown(path)} names a device")
    return parts, text.startswith("/")


def _split(path: str) -> list[str]:
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]


def _own(parts: list[str], inside: list[str], item_id: str) -> list[list[str]]:
    """The item's own folder of pictures, if a path leads through one of that name."""
    own = [IMAGES, *_split(item_id)]
    return [[*inside, *parts[-len(own) - 1 :]]] if item_id and parts[-len(own) - 1 : -1] == own else []


def _tails(parts: list[str], name: list[str] | tuple[str, ...]) -> list[list[str]]:
    """What comes after each occurrence of a name, the longest first."""
    return [parts[at + 1 :] for at, part in enumerate(parts[:-1]) if [part] == list(name)]
