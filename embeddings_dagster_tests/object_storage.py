"""A real S3 API on loopback, by moto: it counts what is asked of it, and fails as it is told.

It lives in a thread of the tests' process, so it outlives every process that a test kills.
"""

import itertools
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

BUCKET = "pile"
SECRET = "not-a-secret-but-looked-for"
KEY = "AKIATESTSLOOKFORTHIS"
FORGOTTEN = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL_S3", "HTTP_PROXY", "http_proxy")
Answer = Callable[..., Iterable[bytes]]


class Request(NamedTuple):
    """One request: what is done, as a bill names it, and the bucket and key, or the prefix of a listing."""

    does: str
    path: str


Fault = Callable[[Request, dict[str, Any]], "str | None"]
"""What is wrong with a request: `None`, nothing; `lost reply`, it is done and the connection ends without an answer;
`no condition`, it is done as if it had none; XML is what it is answered with; else it is answered with this code of
S3's, by its status and a space."""


class ObjectStorage:
    """The server, and one empty bucket, `pile`."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._fault: Fault | None = None
        self._numbers = itertools.count()
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def environment(self) -> dict[str, str]:
        """What a client needs to come here, and to look nowhere else."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._server.server_port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def new_root(self) -> str:
        """The URL of a store that nobody else has."""
        return f"s3://{BUCKET}/store-{next(self._numbers)}"

    @contextmanager
    def counted(self) -> Iterator["Counter[str]"]:
        """What is asked meanwhile, by what it does; complete when the block has ended."""
        start, counts = len(self.requests), Counter[str]()
        yield counts
        counts.update(each.does for each in self.requests[start:])

    @contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """Fail as `fault` says, meanwhile."""
        self._fault = fault
        try:
            yield
        finally:
            self._fault = None

    def _answer(self, environ: dict[str, Any], start: Answer) -> Iterable[bytes]:
        request = _request(environ)
        self.requests.append(request)
        fault = self._fault(request, environ) if self._fault else None
        if fault is None:
            return self._moto(environ, start)  # type: ignore[no-any-return]
        if fault == "no condition":
            environ.pop("HTTP_IF_NONE_MATCH", None)
            return self._moto(environ, start)  # type: ignore[no-any-return]
        if fault == "lost reply":
            list(self._moto(environ, lambda *args: None))
            raise ConnectionError("the reply is lost on purpose")
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        status, said = "200 OK", fault
        if not fault.startswith("<"):
            status, said = fault, f"<Error><Code>{fault.split()[1]}</Code><Message>{KEY}</Message></Error>"
        body = said.encode()
        start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [] if request.does == "HEAD" else [body]


def once(does: str, fault: str) -> Fault:
    """The next request that does this fails so, and no other."""
    left = [fault]
    return lambda request, environ: left.pop() if request.does == does and left else None


def always(fault: str, *does: str) -> Fault:
    """Each request fails so; of those that do this, if any is named."""
    return lambda request, environ: fault if not does or request.does in does else None


def _request(environ: dict[str, Any]) -> Request:
    method, query = environ["REQUEST_METHOD"], environ.get("QUERY_STRING", "")
    path = environ["PATH_INFO"].lstrip("/")
    if method == "GET" and "list-type=2" in query:
        prefix = next((each[7:] for each in query.split("&") if each.startswith("prefix=")), "")
        return Request("LIST", f"{path}/{prefix}")
    if method in ("PUT", "POST") and ("upload" in query or "delete" in query):
        return Request("DELETE many" if "delete" in query else "UPLOAD", path)
    return Request(method, path)


class _Quiet(MotoRequestHandler):  # type: ignore[misc]
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        """Nobody reads it."""

    def connection_dropped(self, error: BaseException, environ: Any = None) -> None:
        self.close_connection = True
