"""A store's files on a disk that fails: the n-th operation, once or from then on, before it took effect or after.

It stands at the one seam between the store and storage, so whatever the project does to its store goes through it.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from embeddings_dagster.store.files import Files, Stat
from embeddings_dagster.store.trouble import telling

# What each operation can come to, as a disk or a network drive has it.
READING = (errno.EIO, errno.EACCES, errno.ESTALE)
WRITING = (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT)
ERRORS = {
    "read": READING,
    "open": READING,
    "handle.read": (errno.EIO, errno.ESTALE),
    "names": READING,
    "folders": READING,
    "hidden": READING,
    "newest": READING,
    "walk": READING,
    "stat": READING,
    "writing": WRITING,
    "handle.write": (errno.EIO, errno.ENOSPC, errno.EDQUOT),
    "publish": WRITING,
    "create": WRITING,
    "delete": (errno.EIO, errno.EROFS, errno.EACCES),
    "delete_folder": (errno.EIO, errno.EROFS, errno.EACCES),
    "delete_empty": (errno.EIO, errno.EROFS, errno.EACCES),
}
BEFORE, AFTER, SHORT = "before", "after", "short"
# `after`: renamed, linked or deleted, and then the folder's fsync fails. `short`: half of the bytes, then no room.
MOMENTS = {
    "publish": (BEFORE, AFTER),
    "create": (BEFORE, AFTER),
    "delete": (BEFORE, AFTER),
    "handle.write": (BEFORE, SHORT),
}
WRITES = {"writing", "handle.write", "publish", "create", "delete", "delete_folder", "delete_empty"}


class Fault(NamedTuple):
    """The operation it hits (counted from 1), the error, when, and whether it lasts: writes then fail from there on, or
    reads too where that is what failed."""

    number: int
    error: int
    moment: str = BEFORE
    lasting: bool = False

    def __str__(self) -> str:
        lasting = ", from then on" if self.lasting else ""
        return f"{errno.errorcode[self.error]} {self.moment} operation {self.number}{lasting}"


@dataclass
class FaultyFiles(Files):
    """`inner`, with one fault or none. `done`: the operations until now, by name; `hit`: the one that failed first."""

    inner: Files
    fault: Fault | None = None
    done: list[str] = field(default_factory=list)
    hit: str | None = None

    def __post_init__(self) -> None:
        super().__init__(self.inner.root)

    def local(self, path: str) -> Path | None:
        return self.inner.local(path)

    @contextmanager
    def _doing(self, operation: str, path: str, what: str) -> Iterator[None]:
        """Count an operation on `path`, and let it fail where it is its turn."""
        self.done.append(operation)
        moment = self._fails(operation)
        with telling(self.inner.url(path), what):
            if moment == BEFORE:
                raise self._error()
            yield
            if moment == AFTER:
                raise self._error()

    def _fails(self, operation: str) -> str | None:
        fault = self.fault
        if fault is None or len(self.done) < fault.number:
            return None
        if len(self.done) == fault.number:
            self.hit = operation
            return fault.moment
        if not fault.lasting or (self.hit in WRITES and operation not in WRITES):
            return None
        return BEFORE

    def _error(self) -> OSError:
        assert self.fault is not None
        return OSError(self.fault.error, os.strerror(self.fault.error))

    def read(self, path: str) -> bytes:
        with self._doing("read", path, "read"):
            return self.inner.read(path)

    def open(self, path: str) -> BinaryIO:
        with self._doing("open", path, "read"):
            return FaultyReader(self.inner.open(path), self)  # type: ignore[return-value]

    @contextmanager
    def writing(self, path: str) -> Iterator[BinaryIO]:
        with self._doing("writing", path, "written"):
            pass
        with telling(self.inner.url(path), "written"):
            with self.inner.writing(path) as handle:
                yield FaultyWriter(handle, self)  # type: ignore[misc]
                self.done.append("publish")
                moment = self._fails("publish")
                if moment == BEFORE:
                    raise self._error()
            if moment == AFTER:
                raise self._error()

    def create(self, path: str, data: bytes) -> None:
        with self._doing("create", path, "written"):
            self.inner.create(path, data)

    def names(self, folder: str) -> list[str]:
        with self._doing("names", folder, "listed"):
            return self.inner.names(folder)

    def folders(self, folder: str) -> list[str]:
        with self._doing("folders", folder, "listed"):
            return self.inner.folders(folder)

    def hidden(self, folder: str) -> list[str]:
        with self._doing("hidden", folder, "listed"):
            return self.inner.hidden(folder)

    def walk(self, folder: str) -> Iterator[tuple[str, Stat]]:
        with self._doing("walk", folder, "listed"):
            found = list(self.inner.walk(folder))
        yield from found

    def delete_empty(self, folder: str) -> None:
        with self._doing("delete_empty", folder, "deleted"):
            self.inner.delete_empty(folder)

    def newest(self, folder: str, inside: str, name: re.Pattern[str]) -> dict[str, tuple[str, Stat]]:
        with self._doing("newest", folder, "listed"):
            return self.inner.newest(folder, inside, name)

    def delete(self, path: str) -> None:
        with self._doing("delete", path, "deleted"):
            self.inner.delete(path)

    def delete_folder(self, folder: str) -> None:
        with self._doing("delete_folder", folder, "deleted"):
            self.inner.delete_folder(folder)

    def stat(self, path: str) -> Stat | None:
        with self._doing("stat", path, "read"):
            return self.inner.stat(path)

    def reading(self) -> None:
        """A handle is about to read."""
        self.done.append("handle.read")
        if self._fails("handle.read"):
            raise self._error()

    def write(self, handle: BinaryIO, data: Any) -> int:
        """A handle is to write."""
        self.done.append("handle.write")
        moment = self._fails("handle.write")
        if moment == SHORT:
            view = memoryview(data).cast("B")
            handle.write(view[: len(view) // 2])
        if moment:
            raise self._error()
        return handle.write(data)


class FaultyReader:
    """As much of a file as Arrow, hashing and numpy ask for."""

    def __init__(self, handle: BinaryIO, files: FaultyFiles) -> None:
        self._handle, self._files = handle, files

    def read(self, size: int = -1) -> bytes:
        self._files.reading()
        return self._handle.read(size)

    def readinto(self, buffer: Any) -> int:
        self._files.reading()
        return self._handle.readinto(buffer)  # type: ignore[attr-defined, no-any-return]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handle, name)

    def __enter__(self) -> "FaultyReader":
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(ValueError):
            self._handle.close()


class FaultyWriter:
    """The handle of a file that is being written."""

    def __init__(self, handle: BinaryIO, files: FaultyFiles) -> None:
        self._handle, self._files = handle, files

    def write(self, data: Any) -> int:
        return self._files.write(self._handle, data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handle, name)


def faults(operations: list[str]) -> Iterator[Fault]:
    """Every fault that a list of operations can meet."""
    for number, operation in enumerate(operations, start=1):
        for moment in MOMENTS.get(operation, (BEFORE,)):
            errors = (errno.ENOSPC,) if moment == SHORT else ERRORS[operation]
            for error in errors:
                yield Fault(number, error, moment)
                if moment == BEFORE:
                    yield Fault(number, error, moment, lasting=True)
