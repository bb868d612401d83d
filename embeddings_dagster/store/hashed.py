"""A file that is being written and hashed at once: what is promised of it are the bytes that were meant to be written,
and not those that are read back.

Its promise: a write that failed is the last one. Arrow closes its writers whenever Python collects them, and a second
error, at whatever moment that is, would hit whoever works there.
"""

import hashlib
from typing import BinaryIO


class Hashed:
    """Passes on what is written; as much of a file as Arrow, numpy and faiss ask for."""

    closed = False

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle
        self._digest = hashlib.sha256()
        self.bytes = 0
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        if self.error is not None:
            return len(data)
        try:
            written = self._handle.write(data)
        except OSError as error:
            self.error = error
            raise
        self._digest.update(data)
        self.bytes += len(data)
        return written

    def require_written(self) -> None:
        """Raises:
        OSError: a write failed; a library may have told that as something else, or not at all.
        """
        if self.error is not None:
            raise self.error

    def flush(self) -> None:
        if self.error is None:
            self._handle.flush()

    def close(self) -> None:
        """Nobody writes any more; the file itself belongs to whoever opened it."""
        self.closed = True

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()
