"""The time that one picture may take. Timeouts of a socket bound its silence only: a server that sends a byte a second,
be it of its headers, would hold a thread for ever. So a watch cuts the connection when the time is over."""

import contextlib
import socket
import threading
import time
from contextvars import ContextVar
from types import TracebackType

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import HTTPResponse

from embeddings_dagster.sources.downloads.waiting import LOOK_SECONDS

_WATCH: ContextVar["Watch | None"] = ContextVar("watch", default=None)


class Budget:
    """Seconds that are left for one picture with all of its retries."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    def left(self) -> float:
        return self._ends - time.monotonic()

    def extend(self, seconds: float) -> None:
        """Waiting for other pictures of the host is not this one's fault."""
        self._ends += seconds


class Watch:
    """While this context lasts, the connection that the thread uses is cut as soon as `budget` is spent or `stop` is
    set; `cut` says whether it was. A cut connection looks as if the server had closed it."""

    def __init__(self, budget: Budget, stop: threading.Event | None) -> None:
        self._budget = budget
        self._stop = stop
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self.cut = False

    def __enter__(self) -> "Watch":
        self._token = _WATCH.set(self)
        threading.Thread(target=self._wait, name="download watch", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _WATCH.reset(self._token)
        with self._lock:
            self._over.set()
            self._socket = None  # another transfer may use it from now on

    def see(self, connection: socket.socket) -> None:
        """This is the connection to cut."""
        with self._lock:
            self._socket = connection
            if self.cut:
                _cut(connection)

    def _wait(self) -> None:
        while not self._over.wait(max(0.0, min(self._budget.left(), LOOK_SECONDS))):
            if self._budget.left() <= 0 or (self._stop is not None and self._stop.is_set()):
                with self._lock:
                    if not self._over.is_set():
                        self.cut = True
                        if self._socket is not None:
                            _cut(self._socket)
                return


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # Not the SSLSocket's own shutdown: it takes the TLS object away from under the thread that is reading.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _show(connection: socket.socket | None) -> None:
    watch = _WATCH.get()
    if watch is not None and connection is not None:
        watch.see(connection)


class _Connection(HTTPConnection):
    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as in urllib3 itself
        _show(self.sock)
        return super().getresponse()


class _TlsConnection(HTTPSConnection):
    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as in urllib3 itself
        _show(self.sock)
        return super().getresponse()


class WatchedPool(HTTPConnectionPool):
    ConnectionCls = _Connection


class WatchedTlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection
