"""A file that is being written and hashed at once: what is promised of it are the bytes that were meant to be written,
and not those that are read back."""

import hashlib
from typing import BinaryIO


class Hashed:
    """Passes on what is written; as much of a file as Arrow, numpy and faiss ask for."""

    closed = False

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle
        self._digest = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        self.bytes += len(data)
        return self._handle.write(data)

    def flush(self) -> None:
        self._handle.flush()

    def close(self) -> None:
        """Nobody writes any more; the file itself belongs to whoever opened it."""
        self.closed = True

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()
