"""Files of an object store, or of any other fsspec file system: whole by one put, exclusive by a conditional put."""

import inspect
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from embeddings_dagster.errors import NotExclusive
from embeddings_dagster.store.files import Files, Stat
from embeddings_dagster.store.steps import reached


class ObjectFiles(Files):
    """Any fsspec file system whose `pipe_file` knows `mode="create"` (`If-None-Match: *` on S3)."""

    def __init__(self, url: str, scratch: Path) -> None:
        """`scratch` is a local folder for files while they are made."""
        from fsspec.core import url_to_fs  # a local root never pays for the import

        super().__init__(url.rstrip("/"))
        self._fs, self._prefix = cast("tuple[Any, str]", url_to_fs(self.root))
        self._scratch = scratch

    def _address(self, path: str) -> str:
        return f"{self._prefix.rstrip('/')}/{path}"

    def local(self, path: str) -> Path | None:
        return None

    def read(self, path: str) -> bytes:
        return cast(bytes, self._fs.cat_file(self._address(path)))

    def open(self, path: str) -> BinaryIO:
        return cast(BinaryIO, self._fs.open(self._address(path), "rb"))

    @contextmanager
    def writing(self, path: str) -> Iterator[BinaryIO]:
        self._scratch.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self._scratch)
        try:
            with os.fdopen(descriptor, "wb") as handle:
                reached("write:begun")
                yield handle
            reached("write:temporary")
            self._fs.put_file(name, self._address(path))
        finally:
            Path(name).unlink(missing_ok=True)
        reached("write:published")

    def create(self, path: str, data: bytes) -> None:
        reached("create:temporary")
        self._fs.pipe_file(self._address(path), data, mode="create")
        reached("create:linked")

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
        address = self._address(folder)
        self._fs.invalidate_cache(address)  # a listing remembered by fsspec would hide other writers' commits
        try:
            entries = self._fs.ls(address, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(str(e["name"]).rstrip("/").rsplit("/", 1)[-1] for e in entries if e["type"] == kind)

    def newest(self, folder: str, inside: str, name: re.Pattern[str]) -> dict[str, tuple[str, Stat]]:
        address = self._address(folder)
        self._fs.invalidate_cache()  # of the folders below, too
        try:
            listed = self._fs.find(address, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        found: dict[str, tuple[str, Stat]] = {}
        for path, info in sorted(listed.items()):
            below = str(path).removeprefix("/").removeprefix(address.removeprefix("/")).strip("/").split("/")
            if len(below) == 3 and below[1] == inside and name.fullmatch(below[2]) and not below[0].startswith("."):
                found[below[0]] = (below[2], _stat(info))
        return found

    def delete(self, path: str) -> None:
        try:
            self._fs.rm_file(self._address(path))
        except FileNotFoundError:
            return

    def delete_folder(self, folder: str) -> None:
        address = self._address(folder)
        self._fs.invalidate_cache(address)
        with suppress(FileNotFoundError):
            self._fs.rm(address, recursive=True)

    def walk(self, folder: str) -> Iterator[tuple[str, Stat]]:
        address = self._address(folder)
        self._fs.invalidate_cache()  # of the folders below, too
        try:
            listed = self._fs.find(address, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return
        for path, info in listed.items():
            below = str(path).removeprefix("/").removeprefix(address.strip("/")).strip("/")
            if below:  # else it is a file itself
                yield (f"{folder}/{below}" if folder else below), _stat(info)

    def delete_empty(self, folder: str) -> None:
        """A store of objects has no folders."""

    def stat(self, path: str) -> Stat | None:
        try:
            info = self._fs.info(self._address(path))
        except FileNotFoundError:
            return None
        return _stat(info)


def _stat(info: dict[str, Any]) -> Stat:
    changed = info.get("LastModified") or info.get("last_modified") or info.get("mtime") or info.get("created") or 0
    seconds = changed.timestamp() if hasattr(changed, "timestamp") else float(changed)
    return Stat(int(info["size"] or 0), int(seconds * 1e9), str(info.get("ETag") or info.get("etag") or ""))
