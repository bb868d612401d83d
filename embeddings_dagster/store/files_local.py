"""Files of a local folder: whole by rename, exclusive by hard link, durable by fsync of the file and of its folder."""

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from embeddings_dagster.errors import NotExclusive
from embeddings_dagster.store.files import Files, Stat
from embeddings_dagster.store.steps import reached
from embeddings_dagster.store.trouble import telling

NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV}

READ, WRITTEN, LISTED, DELETED = "read", "written", "listed", "deleted"


class LocalFiles(Files):
    """A folder on a local disk with hard links."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        super().__init__(str(self._root))

    def local(self, path: str) -> Path:
        return self._root / path

    def read(self, path: str) -> bytes:
        with telling(self.local(path), READ):
            return self.local(path).read_bytes()

    def open(self, path: str) -> BinaryIO:
        with telling(self.local(path), READ):
            return self.local(path).open("rb")

    @contextmanager
    def writing(self, path: str) -> Iterator[BinaryIO]:
        final = self.local(path)
        with telling(final, WRITTEN), self._temporary(final) as temporary:
            with temporary.open("xb") as handle:
                reached("write:begun")
                yield handle
                _sync(handle)
            reached("write:temporary")
            temporary.replace(final)
            _sync_folder(final.parent)
        reached("write:published")

    def create(self, path: str, data: bytes) -> None:
        final = self.local(path)
        with telling(final, WRITTEN), self._temporary(final) as temporary:
            with temporary.open("xb") as handle:
                handle.write(data)
                _sync(handle)
            reached("create:temporary")
            try:
                os.link(temporary, final)
            except FileExistsError:
                raise
            except OSError as error:
                if error.errno not in NO_HARD_LINKS:
                    raise
                raise NotExclusive(
                    f"{self.root} has no hard links ({error.strerror}), so a commit there could not be made safe "
                    "against a second writer. Use a disk with hard links."
                ) from error
            reached("create:linked")
            _sync_folder(final.parent)

    @contextmanager
    def _temporary(self, final: Path) -> Iterator[Path]:
        """An unused name beside `final`, on the same disk; nothing is left under it, whatever happens."""
        _make_folder(final.parent)
        temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex}.tmp")
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def names(self, folder: str) -> list[str]:
        return self._entries(folder, folders=False)

    def folders(self, folder: str) -> list[str]:
        return self._entries(folder, folders=True)

    def _entries(self, folder: str, *, folders: bool) -> list[str]:
        try:
            with telling(self.local(folder), LISTED), os.scandir(self.local(folder)) as entries:
                return sorted(e.name for e in entries if e.is_dir() == folders and not e.name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def newest(self, folder: str, inside: str, name: re.Pattern[str]) -> dict[str, tuple[str, Stat]]:
        found = {}
        for each in self.folders(folder):
            place = f"{self._root}/{folder}/{each}/{inside}"  # plain strings: there may be thousands
            try:
                with telling(place, LISTED):
                    last = max(filter(name.fullmatch, os.listdir(place)), default=None)
                    if last is not None:
                        found[each] = (last, _stat(os.stat(f"{place}/{last}")))
            except (FileNotFoundError, NotADirectoryError):  # none, or erased meanwhile
                continue
        return found

    def delete(self, path: str) -> None:
        with telling(self.local(path), DELETED):
            self.local(path).unlink(missing_ok=True)

    def delete_folder(self, folder: str) -> None:
        with telling(self.local(folder), DELETED), suppress(FileNotFoundError):
            shutil.rmtree(self.local(folder))

    def hidden(self, folder: str) -> list[str]:
        try:
            with os.scandir(self.local(folder)) as entries:
                return sorted(each.name for each in entries if each.name.startswith(".") and each.is_file())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def walk(self, folder: str) -> Iterator[tuple[str, Stat]]:
        try:
            with os.scandir(self.local(folder)) as entries:
                found = list(entries)
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in found:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from self.walk(path)
            elif entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):
                    yield path, _stat(os.stat(entry.path))

    def delete_empty(self, folder: str) -> None:
        with suppress(OSError):
            self.local(folder).rmdir()

    def stat(self, path: str) -> Stat | None:
        try:
            with telling(self.local(path), READ):
                found = self.local(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _stat(found)


def _stat(found: os.stat_result) -> Stat:
    return Stat(found.st_size, found.st_mtime_ns, str(found.st_ino))


def _sync(handle: BinaryIO) -> None:
    handle.flush()
    os.fsync(handle.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; where folders cannot be opened (Windows) the system does that itself."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each durable in its parent."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)
