"""The folder source: every decodable picture below a folder, named by its path relative to it.

What it does not list does not exist, so a folder that cannot be listed, the root above all, is a `SourceError`.
Names may hold anything the disk allows, newlines and bytes that are not UTF-8 included. Nothing outside of the root is
ever read: links that lead out of it are refused. A linked folder is not entered, since what lies within the root is
listed under its real path already; so no loop of links can trap the scan.
"""

import os
import stat
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from embeddings_dagster.errors import ReadFailed, SourceError, TooManyBytes
from embeddings_dagster.ids import escape_local_id, unescape_local_id
from embeddings_dagster.sources.base import LOOK, Problem, Scan
from embeddings_dagster.sources.columns import EntryColumns

# The usual names of what `images/` decodes. Anything else in the folder is counted and left alone.
EXTENSIONS = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
        *(".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".avifs"),
        *(".ppm", ".pgm", ".pbm", ".pnm"),
    }
)
HIDDEN, OTHER_KIND, LINK, LINKED_FOLDER, NOT_A_FILE = (
    "hidden",
    "not a picture by its extension",
    "symbolic link",
    "linked folder, listed under its real path",
    "not a regular file",
)


class FolderSource:
    """Every decodable picture below `root`.

    `prefix` goes before each local id, `hidden` takes names that begin with a dot, and `follow_symlinks` takes links to
    files within the root.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        *,
        prefix: str = "",
        hidden: bool = False,
        follow_symlinks: bool = False,
        setting: str | None = None,
    ) -> None:
        """`setting` is how a message names the place where `root` can be corrected."""
        self.name = name
        self._setting = setting or f"sources.{name}.path"
        self.root = root
        self._prefix = prefix
        self._hidden = hidden
        self._follow = follow_symlinks

    def scan(self) -> Scan:
        """List every picture; time and memory grow linearly with their number.

        Raises:
            SourceError: the root or a folder below it is missing, not a folder, or cannot be listed.
        """
        return _Walk(self._real_root(), self.name, self._prefix, self._hidden, self._follow).scan()

    def look(self, locations: pa.ChunkedArray) -> pa.Table:
        """The size and mtime of some pictures now; see `Source.look`."""
        sizes: list[int | None] = []
        times: list[int | None] = []
        for location in locations.to_pylist():
            try:
                found = os.stat(self.root / unescape_local_id(location))
            except (OSError, ValueError):
                sizes.append(None)
                times.append(None)
            else:
                sizes.append(found.st_size)
                times.append(found.st_mtime_ns)
        return pa.table([locations.cast(pa.string()), sizes, times], schema=LOOK)

    def read(self, location: str, cap: int) -> bytes:
        """The bytes of one picture; see `Source.read`. Refuses what lies outside of the root, by `..` or by a link."""
        try:
            path = os.path.realpath(self.root / unescape_local_id(location))
            if not _is_within(path, os.path.realpath(self.root)):
                raise ReadFailed(f"{location}: lies outside of the folder of source {self.name!r}, and is not read")
            return _read_regular(path, location, cap)
        except FileNotFoundError as error:
            raise ReadFailed(f"{location}: not there any more; restore it, or run again to have it removed") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ReadFailed(f"{location}: cannot be read ({reason}); check its permissions and its disk") from error

    def _real_root(self) -> str:
        if not self.root.is_dir():
            state = "is not a folder" if self.root.exists() else "does not exist"
            raise SourceError(
                f"source {self.name!r}: {str(self.root)!r} {state}; mount or create it, or correct "
                f"{self._setting}. Nothing was removed."
            )
        return os.path.realpath(self.root)


class _Walk:
    """One pass over the folder. Paths are relative to the root, `/` between their parts."""

    def __init__(self, root: str, name: str, prefix: str, hidden: bool, follow: bool) -> None:
        self._root = root
        self._name = name
        self._prefix = prefix
        self._take_hidden = hidden
        self._follow = follow
        self._entries = EntryColumns()
        self._problems: list[Problem] = []
        self._ignored: Counter[str] = Counter()

    def scan(self) -> Scan:
        started_at = datetime.now(UTC)
        folders = [""]
        while folders:
            folders += self._list(folders.pop())
        problems = tuple(sorted(self._problems, key=lambda problem: problem.location))
        return Scan(self._entries.table(), started_at, problems, dict(sorted(self._ignored.items())))

    def _list(self, folder: str) -> list[str]:
        """Take in the files of one folder; returns the folders in it."""
        inner: list[str] = []
        try:
            with os.scandir(os.path.join(self._root, folder)) as found:
                for entry in found:
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.name.startswith(".") and not self._take_hidden:
                        self._ignored[HIDDEN] += 1
                    elif entry.is_symlink():
                        self._take_link(entry, path)
                    elif entry.is_dir(follow_symlinks=False):
                        inner.append(path)
                    else:
                        self._take(entry, path)
        except OSError as error:
            where = escape_local_id(folder) or "its root"
            raise SourceError(
                f"source {self._name!r}: {where} cannot be listed ({error.strerror}), so nothing is concluded from the "
                "rest; check its permissions and its disk, then run again. Nothing was removed."
            ) from error
        return inner

    def _take_link(self, entry: "os.DirEntry[str]", path: str) -> None:
        if not self._follow:
            self._ignored[LINK] += 1
            return
        try:
            leads_to_folder = entry.is_dir()
            os.stat(entry.path)
        except OSError:
            self._report(path, "is a link to nothing; restore what it leads to, or delete it")
            return
        if not _is_within(os.path.realpath(entry.path), self._root):
            self._report(path, "leads out of the source's folder; make where it leads a source of its own")
        elif leads_to_folder:
            self._ignored[LINKED_FOLDER] += 1
        else:
            self._take(entry, path)

    def _take(self, entry: "os.DirEntry[str]", path: str) -> None:
        if os.path.splitext(entry.name)[1].lower() not in EXTENSIONS:
            self._ignored[OTHER_KIND] += 1
            return
        size = mtime_ns = None  # what cannot be looked at is listed, and fails when it is read
        try:
            found = entry.stat()
            if not stat.S_ISREG(found.st_mode):
                self._ignored[NOT_A_FILE] += 1
                return
            size, mtime_ns = found.st_size, found.st_mtime_ns
        except FileNotFoundError:
            return  # deleted since the folder was listed
        except OSError as error:
            self._report(path, f"cannot be looked at ({error.strerror}); check its permissions and its disk")
        location = escape_local_id(path)
        self._entries.add(self._prefix + location, location, size, mtime_ns)

    def _report(self, path: str, reason: str) -> None:
        self._problems.append(Problem(escape_local_id(path), reason))


def _is_within(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def _read_regular(path: str, location: str, cap: int) -> bytes:
    # Without O_NONBLOCK, opening a pipe that took a picture's name would wait for ever.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise ReadFailed(f"{location}: is not a regular file; replace it by one, or delete it")
        data = file.read(cap + 1) if found.st_size <= cap else None
    if data is None or len(data) > cap:
        raise TooManyBytes(
            f"{location}: {max(found.st_size, cap + 1):,} bytes are more than rgb.max_bytes = {cap:,}; "
            "raise it to accept the file"
        )
    return data
