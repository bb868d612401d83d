"""Messages between a process and its worker: a JSON header and raw bodies, each after its length. Nothing is executed
on reading, and nothing but whole messages is read."""

import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

_LENGTH = struct.Struct(">Q")

Header = dict[str, Any]


def send(stream: BinaryIO, header: Mapping[str, object], *bodies: bytes) -> None:
    """Write one message and flush it.

    Raises:
        OSError: nobody reads any more.
    """
    told = json.dumps({**header, "bodies": [len(body) for body in bodies]}).encode()
    stream.write(_LENGTH.pack(len(told)) + told)
    for body in bodies:
        stream.write(body)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[Header, list[bytes]]:
    """Read one message.

    Raises:
        EOFError: the other side is gone, perhaps in the middle of a message.
    """
    (length,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    header: Header = json.loads(_exactly(stream, length))
    return header, [_exactly(stream, size) for size in header.pop("bodies")]


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError("the other side is gone")
    return data
