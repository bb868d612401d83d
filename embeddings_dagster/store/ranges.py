"""A remote file as a handle for reading: small ones by one request, large ones in blocks as they are asked for."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK = 8 * 2**20  # bytes; a file that is no larger is fetched whole
Fetch = Callable[[int, int], bytes]


def ranges(fetch: Fetch, size: int) -> BinaryIO:
    """A handle on `size` bytes, of which `fetch` gets those from a start to before an end. Nothing is fetched yet."""
    return cast(BinaryIO, io.BufferedReader(_Ranges(fetch, size), BLOCK))


class _Ranges(io.RawIOBase):
    def __init__(self, fetch: Fetch, size: int) -> None:
        self._fetch, self._size, self._at = fetch, size, 0
        self._whole: bytes | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        data = self._bytes(self._at, min(self._at + len(view), self._size))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _bytes(self, start: int, end: int) -> bytes:
        if start >= end:
            return b""
        if self._size > BLOCK:
            return self._fetch(start, end)
        if self._whole is None:
            self._whole = self._fetch(0, self._size)
        return self._whole[start:end]
