"""A web shop on 127.0.0.1 that serves pictures, and every trick a server can play.

It is a real HTTP server. What a path answers is set by `shop[path] = answer`; `/many/<n>.png` is a small picture of its
own for every number. Each request is counted, and written to `log` (if given) before it is answered, so that counts
outlive any process.
"""

import contextlib
import gzip
import io
import os
import socket
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """One connection. An answer gets this object and may do to it what it likes."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30
    server: "_Server"

    def do_GET(self) -> None:
        shop = self.server.shop
        answer = shop.receive(self)
        with contextlib.suppress(ConnectionError, TimeoutError):  # a client that hangs up is what is tested
            answer(self)

    def reply(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        """Send a whole answer; `_` in a header's name stands for `-`. Its length is told unless the header is given."""
        self.head(status, **{"Content_Length": str(len(body)), **headers})
        if status != 304:
            self.wfile.write(body)

    def head(self, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


Answer = Callable[[Handler], None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    shop: "Shop"

    def process_request(self, request: Any, client_address: Any) -> None:
        self.shop.connected(1)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.shop.connected(-1)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class Shop:
    """The shop while it is open; see `open_shop`."""

    def __init__(self, log: Path | None = None, address: str = "127.0.0.1") -> None:
        self._answers: dict[str, Answer] = {}
        self._lock = threading.Condition()
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if log else None
        self.counts: Counter[str] = Counter()
        self.headers: dict[str, Message] = {}  # of the last request for a path
        self.busy = self.busiest = self._connections = 0
        self.closing = threading.Event()
        self._server = _Server((address, 0), Handler)
        self._server.shop = self
        self.host, self.port = address, self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def __setitem__(self, path: str, answer: Answer) -> None:
        self._answers[path] = answer

    def url(self, path: str, host: str | None = None) -> str:
        return f"http://{host or self.host}:{self.port}{path}"

    def asked(self, path: str) -> int:
        """How often a path (with its query) was asked for."""
        with self._lock:
            return self.counts[path]

    def wait_for(self, requests: int) -> None:
        """Wait until so many requests have come in all, a minute at most."""
        with self._lock:
            assert self._lock.wait_for(lambda: self.counts.total() >= requests, 60), f"{requests} requests never came"

    def connected(self, more: int) -> None:
        with self._lock:
            self._connections += more
            self._lock.notify_all()

    def settle(self) -> None:
        """Wait until every request that was sent by processes which are no more has been received and counted."""
        with socket.create_connection((self.host, self.port), 10) as last:  # connections are taken in their order
            last.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while last.recv(1024):
                pass
        with self._lock:
            assert self._lock.wait_for(lambda: not self._connections, 60), "somebody is still connected"
            del self.counts["/"]

    def receive(self, handler: Handler) -> Answer:
        path = handler.path
        with self._lock:
            self.counts[path] += 1
            self.headers[path] = handler.headers
            self._lock.notify_all()
            if self._log is not None and path != "/":
                os.write(self._log, f"{path}\n".encode())
        answer = self._answers.get(path) or self._answers.get(path.partition("?")[0])
        if answer is None and path.startswith("/many/"):
            return picture(tiny_png(int(path.removeprefix("/many/").removesuffix(".png"))))
        return answer or status(404)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Counts how many are in this context at once, at most: `busiest`."""
        with self._lock:
            self.busy += 1
            self.busiest = max(self.busiest, self.busy)
        try:
            yield
        finally:
            with self._lock:
                self.busy -= 1

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        if self._log is not None:
            os.close(self._log)


@contextmanager
def open_shop(log: Path | None = None, address: str = "127.0.0.1") -> Iterator[Shop]:
    shop = Shop(log, address)
    try:
        yield shop
    finally:
        shop.close()


@lru_cache(maxsize=16)
def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def tiny_png(number: int) -> bytes:
    """A whole picture of 8×8 pixels, another one for each number below 2**24."""
    colour = number.to_bytes(3, "big")
    rows = (b"\x00" + colour * 4 + bytes(255 - each for each in colour) * 4) * 8
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


# ---- answers


def picture(data: bytes, **headers: str) -> Answer:
    return lambda handler: handler.reply(200, data, **headers)


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    return lambda handler: handler.reply(code, body, **headers)


def redirect(to: str, code: int = 302) -> Answer:
    return status(code, Location=to)


def in_turn(*answers: Answer) -> Answer:
    """The first answer to the first request, and so on; the last one from then on."""
    left = iter(answers)
    lock = threading.Lock()

    def answer(handler: Handler) -> None:
        with lock:
            current = next(left, answers[-1])
        current(handler)

    return answer


class Versioned:
    """A picture that may change, with its ETag and date; 304 for who has it already."""

    def __init__(self, data: bytes, etag: str | None = '"1"', last_modified: str | None = None) -> None:
        self.set(data, etag, last_modified)

    def set(self, data: bytes, etag: str | None = None, last_modified: str | None = None) -> None:
        named = {"ETag": etag, "Last_Modified": last_modified}
        self._now = data, {name: value for name, value in named.items() if value is not None}

    def __call__(self, handler: Handler) -> None:
        data, named = self._now
        known = (handler.headers["If-None-Match"], handler.headers["If-Modified-Since"])
        same = any(value is not None and value in named.values() for value in known)
        handler.reply(304 if same else 200, data, **named)


def endless(head: bytes = tiny_png(1), *, chunked: bool = False) -> Answer:
    """A body that begins like a picture and has no end."""

    def answer(handler: Handler) -> None:
        handler.close_connection = True
        handler.head(200, **({"Transfer_Encoding": "chunked"} if chunked else {"Connection": "close"}))
        piece = head.ljust(65536, b"\0")
        while not handler.server.shop.closing.is_set():
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)

    return answer


def slowly(data: bytes, seconds: float, *, declared: bool = True) -> Answer:
    """A body a byte at a time."""

    def answer(handler: Handler) -> None:
        handler.close_connection = True
        handler.head(200, **({"Content_Length": str(len(data))} if declared else {"Connection": "close"}))
        _drip(handler, data, seconds)

    return answer


def slow_headers(seconds: float) -> Answer:
    """A header that never ends, a byte at a time."""

    def answer(handler: Handler) -> None:
        handler.close_connection = True
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        _drip(handler, b"x" * 10_000, seconds)

    return answer


def _drip(handler: Handler, data: bytes, seconds: float) -> None:
    for each in data:
        if handler.server.shop.closing.wait(seconds):
            return
        handler.wfile.write(bytes([each]))


def silent(until: threading.Event | None = None) -> Answer:
    """Nothing at all, until an event or the shop's end; then a hung-up connection."""

    def answer(handler: Handler) -> None:
        handler.close_connection = True
        (until or handler.server.shop.closing).wait(20)

    return answer


def raw(data: bytes) -> Answer:
    """Exactly these bytes, then the end of the connection."""

    def answer(handler: Handler) -> None:
        handler.close_connection = True
        handler.wfile.write(data)

    return answer


def truncated(data: bytes, missing: int) -> Answer:
    """Says that it is whole, and ends `missing` bytes early."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data)
    return raw(head + data[: len(data) - missing])


def reset(sent: bytes = b"") -> Answer:
    """A connection that is torn down (RST), after some bytes."""

    def answer(handler: Handler) -> None:
        handler.close_connection = True
        handler.wfile.write(sent)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(handler.connection.detach())  # the server itself would end it in good order

    return answer


def gzip_bomb(size: int, head: bytes = tiny_png(1)) -> Answer:
    """A small body that unpacks to a picture and `size` zeros after it, though nobody asked for compression."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9) as file:
        file.write(head)
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
    return picture(packed.getvalue(), Content_Encoding="gzip", Content_Type="image/png")
