"""Files of an object store, or of any other fsspec file system: whole by one put, exclusive by a conditional put."""

import inspect
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from embeddings_dagster.errors import NotExclusive
from embeddings_dagster.store.files import Files, Stat
from embeddings_dagster.store.object_system import explained, file_system, require_plain
from embeddings_dagster.store.ranges import ranges
from embeddings_dagster.store.steps import reached


class ObjectFiles(Files):
    """Any fsspec file system whose `pipe_file` knows `mode="create"` (`If-None-Match: *` on S3)."""

    def __init__(self, url: str, scratch: Path) -> None:
        """`scratch` is a local folder for files while they are made."""
        super().__init__(require_plain(url).rstrip("/"))
        self._fs, self._prefix = file_system(self.root)
        self._scratch = scratch

    def _address(self, path: str) -> str:
        return f"{self._prefix.rstrip('/')}/{path}"

    def local(self, path: str) -> Path | None:
        return None

    def read(self, path: str) -> bytes:
        with explained(self.url(path)):
            return cast(bytes, self._fs.cat_file(self._address(path)))

    def open(self, path: str) -> BinaryIO:
        return self.opened(path)[0]

    def opened(self, path: str) -> tuple[BinaryIO, Stat]:
        stat = self.stat(path)
        if stat is None:
            raise FileNotFoundError(self.url(path))
        return ranges(partial(self._range, path), stat.size), stat

    def _range(self, path: str, start: int, end: int) -> bytes:
        with explained(self.url(path)):
            return cast(bytes, self._fs.cat_file(self._address(path), start=start, end=end))

    @contextmanager
    def writing(self, path: str) -> Iterator[BinaryIO]:
        self._scratch.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self._scratch)
        try:
            with os.fdopen(descriptor, "wb") as handle:
                reached("write:begun")
                yield handle
            reached("write:temporary")
            with explained(self.url(path)):
                self._fs.put_file(name, self._address(path))
        finally:
            Path(name).unlink(missing_ok=True)
        reached("write:published")

    def create(self, path: str, data: bytes) -> None:
        reached("create:temporary")
        with explained(self.url(path)):
            self._put_new(path, data)
        reached("create:linked")

    def _put_new(self, path: str, data: bytes) -> None:
        self._fs.pipe_file(self._address(path), data, mode="create")

    def require_exclusive(self) -> None:
        # The fallback that fsspec inherits to file systems looks first and writes then. The probe, being alone, would
        # pass it; a race would not.
        kind = type(self._fs)
        method = getattr(kind, "_pipe_file", None) or kind.pipe_file
        if method.__module__.startswith("fsspec.spec") or "mode" not in inspect.signature(method).parameters:
            raise NotExclusive(
                f"{self.root}: {kind.__name__} cannot create a file exclusively, so two writers could overwrite each "
                "other's commits. Use a local disk, or an object store with conditional writes."
            )
        super().require_exclusive()

    def names(self, folder: str) -> list[str]:
        return self._entries(folder, "file")

    def folders(self, folder: str) -> list[str]:
        return self._entries(folder, "directory")

    def hidden(self, folder: str) -> list[str]:
        return [name for name in self._listed(folder, "file") if name.startswith(".")]

    def _entries(self, folder: str, kind: str) -> list[str]:
        return [name for name in self._listed(folder, kind) if not name.startswith(".")]

    def _listed(self, folder: str, kind: str) -> list[str]:
        with explained(self.url(folder)):
            try:
                entries = self._fs.ls(self._address(folder), detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(str(e["name"]).rstrip("/").rsplit("/", 1)[-1] for e in entries if e["type"] == kind)

    def newest(self, folder: str, inside: str, name: re.Pattern[str]) -> dict[str, tuple[str, Stat]]:
        found: dict[str, tuple[str, Stat]] = {}
        for path, info in self._all(folder):
            below = path.split("/")
            if len(below) == 3 and below[1] == inside and name.fullmatch(below[2]) and not below[0].startswith("."):
                found[below[0]] = (below[2], stat_of(info))
        return found

    def _all(self, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every file below a folder, sorted by its path relative to it."""
        address = self._address(folder)
        with explained(self.url(folder)):
            try:
                listed = self._fs.find(address, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return
        for path, info in sorted(listed.items()):
            yield str(path).removeprefix("/").removeprefix(address.removeprefix("/")).strip("/"), info

    def delete(self, path: str) -> None:
        with explained(self.url(path)), suppress(FileNotFoundError):
            self._fs.rm_file(self._address(path))

    def delete_folder(self, folder: str) -> None:
        with explained(self.url(folder)), suppress(FileNotFoundError):
            self._fs.rm(self._address(folder), recursive=True)

    def walk(self, folder: str) -> Iterator[tuple[str, Stat]]:
        for below, info in self._all(folder):
            if below:  # else it is a file itself
                yield (f"{folder}/{below}" if folder else below), stat_of(info)

    def delete_empty(self, folder: str) -> None:
        """A store of objects has no folders."""

    def stat(self, path: str) -> Stat | None:
        with explained(self.url(path)):
            try:
                info = self._fs.info(self._address(path))
            except FileNotFoundError:
                return None
        return stat_of(info) if info["type"] == "file" else None


def stat_of(info: dict[str, Any]) -> Stat:
    """The state in what fsspec, or S3 itself, says of an object.

    Storage tells the time to the second when asked for one object, and finer in listings: where there is an ETag, which
    tells more, the second is enough.
    """
    changed = info.get("LastModified") or info.get("last_modified") or info.get("mtime") or info.get("created") or 0
    seconds = changed.timestamp() if hasattr(changed, "timestamp") else float(changed)
    size = next((info[name] for name in ("size", "Size", "ContentLength") if name in info), 0)
    tag = str(info.get("ETag") or info.get("etag") or "").strip('"')
    return Stat(int(size or 0), int(seconds) * 10**9 if tag else int(seconds * 1e9), tag)
