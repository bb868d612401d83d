"""Files below a folder, as the sources of local files look at them and read them. Nothing outside of that folder is
ever read: neither by `..`, nor by an absolute path, nor by a link.

Paths are relative to the folder, `/` between their parts, as Python decodes them; locations are such paths escaped by
`ids.escape_local_id`.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from embeddings_dagster.errors import ReadFailed, SourceError, TooManyBytes
from embeddings_dagster.ids import unescape_local_id
from embeddings_dagster.sources.base import LOOK

BLOCK = 4_096  # files looked at between two times that what was seen is put into columns
MOST_NAMED = 2**31  # bytes of a list or table; predictions for a million panels have half of that
# The usual names of what `images/` decodes.
EXTENSIONS = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
        *(".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".avifs"),
        *(".ppm", ".pgm", ".pbm", ".pnm"),
    }
)


class FilesWithin:
    """The regular files within one folder. What it has learned about the folders below is kept as long as it lives, so
    it is made anew for each pass."""

    def __init__(self, root: str) -> None:
        """`root`: a real path."""
        self._root = root
        self._free_of_links = {"": True}

    def stat(self, path: str) -> os.stat_result | None:
        """The state of a regular file; None where there is none, where it cannot be looked at, or where its path leads
        out of the folder. Links within the folder are followed."""
        try:
            absolute = os.path.join(self._root, path)
            found = os.lstat(absolute)
            if stat.S_ISLNK(found.st_mode) or not self._is_plain(path.rpartition("/")[0], path):
                real = os.path.realpath(absolute)
                if not is_within(real, self._root):
                    return None
                found = os.stat(real)
        except (OSError, ValueError):
            return None
        return found if stat.S_ISREG(found.st_mode) else None

    def has_folder(self, path: str) -> bool:
        """Whether there is a folder at a path that does not lead out of this one."""
        absolute = os.path.join(self._root, path)
        try:
            if self._is_plain(path, path):
                return True
            return os.path.isdir(absolute) and is_within(os.path.realpath(absolute), self._root)
        except (OSError, ValueError):
            return False

    def _is_plain(self, folder: str, path: str) -> bool:
        """Whether a path, in a folder, can be taken as it stands: to resolve each would take longer than all the rest.
        One that is absolute, or relative to a drive of Windows, cannot."""
        return not path.startswith("/") and ":" not in path and self._is_free_of_links(folder)

    def _is_free_of_links(self, folder: str) -> bool:
        known = self._free_of_links.get(folder)
        if known is None:
            parent, _, name = folder.rpartition("/")
            known = (
                name not in ("", ".", "..")
                and self._is_free_of_links(parent)
                and stat.S_ISDIR(os.lstat(os.path.join(self._root, folder)).st_mode)
            )
            self._free_of_links[folder] = known
        return known


def real_root(root: Path, *, source: str, setting: str) -> str:
    """The real path of a source's folder. `setting` is how a message names the place where it can be corrected.

    Raises:
        SourceError: it is missing or not a folder.
    """
    if not root.is_dir():
        state = "is not a folder" if root.exists() else "does not exist"
        raise SourceError(
            f"source {source!r}: {str(root)!r} {state}; mount or create it, or correct {setting}. Nothing was removed."
        )
    return os.path.realpath(root)


def look_within(root: Path, locations: pa.ChunkedArray) -> pa.Table:
    """The size and mtime of some files now; see `Source.look`."""
    files = FilesWithin(os.path.realpath(root))
    looks = [LOOK.empty_table()]
    for start in range(0, len(locations), BLOCK):
        some = locations.slice(start, BLOCK).cast(pa.string())
        found = [files.stat(unescape_local_id(location)) for location in some.to_pylist()]
        sizes = pa.array([each and each.st_size for each in found], pa.int64())
        times = pa.array([each and each.st_mtime_ns for each in found], pa.int64())
        looks.append(pa.table([some, sizes, times], schema=LOOK))
    return pa.concat_tables(looks)


def read_within(root: Path, location: str, cap: int, *, source: str, if_missing: str) -> bytes:
    """The bytes of one file below `root`; `if_missing` tells what to do where it is not there.

    Raises:
        ReadFailed: it cannot be read, or lies outside of the folder.
        TooManyBytes: it has more than `cap` bytes; they are not read.
    """
    try:
        path = os.path.realpath(root / unescape_local_id(location))
        if not is_within(path, os.path.realpath(root)):
            told = f"{location}: lies outside of the folder of source {source!r}, and is not read"
            raise ReadFailed(f"{told}; put the file itself there")
        return _read_regular(path, location, cap)
    except FileNotFoundError as error:
        raise ReadFailed(f"{location}: {if_missing}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ReadFailed(f"{location}: cannot be read ({reason}); check its permissions and its disk") from error


def read_named(path: Path) -> bytes:
    """The bytes of one file that a person named, in the settings or in a command: a list, a table.

    Raises:
        OSError: it cannot be read, is no regular file (a pipe would be waited for, a device read for ever), or is too
            large to be what it is named as.
    """
    handle = open_regular(str(path))
    with open(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        data = read_up_to(file, found.st_size, MOST_NAMED + 1) if found.st_size <= MOST_NAMED else None
    if data is None or len(data) > MOST_NAMED:
        raise OSError(errno.EFBIG, f"it has more than {MOST_NAMED:,} bytes", str(path))
    return data


def open_regular(path: str) -> int:
    """A handle for reading. Without O_NONBLOCK, opening a pipe that took a file's name would wait for ever."""
    return os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))


def read_up_to(file: BinaryIO, size: int, most: int) -> bytes:
    """The bytes of an open file of `size` bytes, which may be growing; at most `most` of them. Asked for all of `most`
    at once, Python would set aside that much memory for the smallest file."""
    data = file.read(min(size + 1, most))
    return data if len(data) <= size else data + file.read(most - len(data))


def is_within(path: str, root: str) -> bool:
    """Whether one real path is another one or lies below it."""
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def _read_regular(path: str, location: str, cap: int) -> bytes:
    handle = open_regular(path)
    with open(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise ReadFailed(f"{location}: is not a regular file; replace it by one, or delete it")
        data = read_up_to(file, found.st_size, cap + 1) if found.st_size <= cap else None
    if data is None or len(data) > cap:
        raise TooManyBytes(
            f"{location}: {max(found.st_size, cap + 1):,} bytes are more than rgb.max_bytes = {cap:,}; "
            "raise it to accept the file"
        )
    return data
