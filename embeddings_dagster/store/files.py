"""The one seam between the store and storage: `LocalFiles` for a folder, `ObjectFiles` for any fsspec URL.

Its promise: a file appears under its name whole or not at all, and `create` has exactly one winner. Nothing assumes a
rename on the far side. All paths are relative to the root, with `/`.
"""

import re
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from embeddings_dagster.errors import NotExclusive


class Stat(NamedTuple):
    """What tells one state of a file from another. `identity` is the inode, or the ETag on an object store."""

    size: int
    mtime_ns: int
    identity: str


class Files(ABC):
    """Everything the store does to storage."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._is_exclusive = False
        self._probing = threading.Lock()

    def url(self, path: str) -> str:
        """The full address of `path`: what another tool would open."""
        return f"{self.root}/{path}"

    @abstractmethod
    def local(self, path: str) -> Path | None:
        """Where `path` lies on this machine, or None if it does not."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """All bytes of a file. Raises FileNotFoundError."""

    @abstractmethod
    def open(self, path: str) -> BinaryIO:
        """A handle for reading at any position. Raises FileNotFoundError."""

    def opened(self, path: str) -> tuple[BinaryIO, Stat]:
        """A handle for reading at any position, and the state of the file. Raises FileNotFoundError."""
        handle = self.open(path)
        stat = self.stat(path)
        if stat is None:
            handle.close()
            raise FileNotFoundError(path)
        return handle, stat

    @abstractmethod
    def writing(self, path: str) -> AbstractContextManager[BinaryIO]:
        """A handle to write a file; `path` appears, whole and durable, when the block ends without an error."""

    @abstractmethod
    def create(self, path: str, data: bytes) -> None:
        """Create `path` with `data`, whole and durable, only if it does not exist.

        Raises:
            FileExistsError: somebody else has created it; theirs is untouched.
            NotExclusive: this storage cannot promise that.
        """

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """The names of the files in a folder, sorted; unfinished ones are left out. A missing folder is empty."""

    @abstractmethod
    def folders(self, folder: str) -> list[str]:
        """The names of the folders in a folder, sorted. A missing folder is empty."""

    @abstractmethod
    def newest(self, folder: str, inside: str, name: re.Pattern[str]) -> dict[str, tuple[str, Stat]]:
        """For each folder in `folder`, by name: the last file in its folder `inside` whose name fits, and its state.

        Those without such a file are left out. However many folders there are, no file is opened.
        """

    @abstractmethod
    def delete(self, path: str) -> None:
        """Delete a file, if it is there."""

    @abstractmethod
    def delete_folder(self, folder: str) -> None:
        """Delete a folder with all that is in it, unfinished files included, if it is there."""

    @abstractmethod
    def hidden(self, folder: str) -> list[str]:
        """The names of the files in a folder that `names` leaves out, sorted: unfinished ones, and probes."""

    @abstractmethod
    def walk(self, folder: str) -> Iterator[tuple[str, Stat]]:
        """Every file below a folder by its path, with its state, unfinished ones included; in no order. Links are left
        out, and so is what vanishes meanwhile."""

    @abstractmethod
    def delete_empty(self, folder: str) -> None:
        """Delete a folder, if it is there and nothing is in it."""

    @abstractmethod
    def stat(self, path: str) -> Stat | None:
        """The state of a file, or None if there is none."""

    def require_exclusive(self) -> None:
        """Refuse storage on which two writers could both believe they had committed.

        Raises:
            NotExclusive: a second `create` of the same name did not fail.
        """
        with self._probing:
            if self._is_exclusive:
                return
            probe = f".probe-{uuid.uuid4().hex}"
            try:
                with suppress(FileExistsError):  # the reply to a first try got lost: nobody else knows the name
                    self.create(probe, b"first")
                try:
                    self.create(probe, b"second")
                except FileExistsError:
                    self._is_exclusive = self.read(probe) == b"first"
            finally:
                with suppress(OSError):  # what kept it from being made is what to tell
                    self.delete(probe)
            if not self._is_exclusive:
                raise NotExclusive(
                    f"{self.root} lets a file be created twice, so two writers could overwrite each other's commits. "
                    "Use a local disk, or an object store with conditional writes."
                )
