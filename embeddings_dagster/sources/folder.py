"""The folder source: every decodable picture below a folder, named by its path relative to it.

What it does not list does not exist, so a folder that cannot be listed, the root above all, is a `SourceError`.
Names may hold anything the disk allows, newlines and bytes that are not UTF-8 included. Nothing outside of the root is
ever read: links that lead out of it are refused. A linked folder is not entered, since what lies within the root is
listed under its real path already; so no loop of links can trap the scan.
"""

import os
import stat
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from embeddings_dagster.errors import SourceError
from embeddings_dagster.ids import escape_local_id, unescape_local_id
from embeddings_dagster.sources.base import Listed, Picture, Problem, Record, Scan
from embeddings_dagster.sources.columns import EntryColumns
from embeddings_dagster.sources.local_files import EXTENSIONS, is_within, look_within, read_within, real_root

HIDDEN, OTHER_KIND, LINK, LINKED_FOLDER, NOT_A_FILE = (
    "hidden",
    "not a picture by its extension",
    "symbolic link",
    "linked folder, listed under its real path",
    "not a regular file",
)
VANISHED = "gone while the folder was listed"


class FolderSource:
    """Every decodable picture below `root`.

    `prefix` goes before each local id, `hidden` takes names that begin with a dot, and `follow_symlinks` takes links to
    files within the root.
    """

    own_batches = False
    threads = 2  # reading and hashing: more of them wait for the same disk

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

    def scan(self, known: Mapping[str, str] | None = None) -> Scan:
        """List every picture; time and memory grow linearly with their number.

        Raises:
            SourceError: the root or a folder below it is missing, not a folder, or cannot be listed.
        """
        root = real_root(self.root, source=self.name, setting=self._setting)
        return _Walk(root, self.name, self._prefix, self._hidden, self._follow).scan()

    def look(self, locations: pa.ChunkedArray) -> pa.Table:
        """The size and mtime of some pictures now; see `Source.look`."""
        return look_within(self.root, locations)

    def records(self, batch: str, rows: pa.Table) -> Mapping[tuple[str, int], Record]:
        """A file's name is all that is known of it: its title."""
        columns = (rows.column(name).to_pylist() for name in ("local_id", "ordinal", "location"))
        return {
            (local_id, ordinal): Record({"title": location.rpartition("/")[2]})
            for local_id, ordinal, location in zip(*columns, strict=True)
        }

    def locate(self, location: str) -> str:
        """The absolute path of a picture."""
        return str(self.root / unescape_local_id(location))

    def read(self, picture: Picture, cap: int) -> bytes:
        """The bytes of one picture; see `Source.read`. Refuses what lies outside of the root, by `..` or by a link."""
        gone = "not there any more; restore it, or run again to have it removed"
        return read_within(self.root, picture.location, cap, source=self.name, if_missing=gone)


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
        self._seen = self._refused = 0

    def scan(self) -> Scan:
        started_at = datetime.now(UTC)
        folders = [""]
        while folders:
            folders += self._list(folders.pop())
        problems = tuple(sorted(self._problems, key=lambda problem: problem.location))
        ignored = dict(sorted(self._ignored.items()))
        listed = Listed("files", self._seen, ignored, self._refused)
        return Scan(self._entries.table(), started_at, problems, ignored, listed=listed)

    def _list(self, folder: str) -> list[str]:
        """Take in the files of one folder; returns the folders in it."""
        inner: list[str] = []
        try:
            with os.scandir(os.path.join(self._root, folder)) as found:
                for entry in found:
                    self._seen += 1
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.name.startswith(".") and not self._take_hidden:
                        self._ignored[HIDDEN] += 1
                    elif entry.is_symlink():
                        self._take_link(entry, path)
                    elif entry.is_dir(follow_symlinks=False):
                        self._seen -= 1  # what is in it is seen instead
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
            self._refuse(path, "is a link to nothing; restore what it leads to, or delete it")
            return
        if not is_within(os.path.realpath(entry.path), self._root):
            self._refuse(path, "leads out of the source's folder; make where it leads a source of its own")
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
            self._ignored[VANISHED] += 1
            return
        except OSError as error:
            self._report(path, f"cannot be looked at ({error.strerror}); check its permissions and its disk")
        location = escape_local_id(path)
        self._entries.add(self._prefix + location, location, size, mtime_ns)

    def _refuse(self, path: str, reason: str) -> None:
        self._refused += 1
        self._report(path, reason)

    def _report(self, path: str, reason: str) -> None:
        self._problems.append(Problem(escape_local_id(path), reason))
