"""The part of the Hugging Face hub that fetching a model needs, on a loopback port."""

import hashlib
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote


class HubServer:
    """Serves one repository: `commits` maps a commit to a folder with its files, `refs` a branch to a commit."""

    def __init__(self, repository: str, commits: Mapping[str, Path], refs: Mapping[str, str]) -> None:
        self.repository, self.commits, self.refs = repository, dict(commits), dict(refs)
        self.fetched: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self, body=True)

            def do_HEAD(self) -> None:
                server.answer(self, body=False)

            def log_message(self, format: str, *args: object) -> None:
                return None

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "HubServer":
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        path = unquote(request.path.partition("?")[0])
        for lead in (f"/api/models/{self.repository}/revision/", f"/{self.repository}/resolve/"):
            if path.startswith(lead):
                self._answer(request, path.removeprefix(lead), body=body, listing=lead.startswith("/api"))
                return
        _refuse(request, "RepoNotFound")

    def _answer(self, request: BaseHTTPRequestHandler, rest: str, *, body: bool, listing: bool) -> None:
        names = sorted([*self.refs, *self.commits], key=len, reverse=True)
        revision = next((name for name in names if rest == name or rest.startswith(name + "/")), None)
        if revision is None:
            _refuse(request, "RevisionNotFound")
            return
        commit = self.refs.get(revision, revision)
        folder = self.commits[commit]
        if listing:
            siblings = [{"rfilename": path.name} for path in sorted(folder.iterdir())]
            _send(request, json.dumps({"id": self.repository, "sha": commit, "siblings": siblings}).encode(), {}, body)
            return
        file = folder / rest.removeprefix(revision + "/")
        if not file.is_file():
            _refuse(request, "EntryNotFound")
            return
        if body:
            self.fetched.append(file.name)
        data = file.read_bytes()
        etag = hashlib.sha256(data).hexdigest()
        _send(request, data, {"X-Repo-Commit": commit, "ETag": f'"{etag}"'}, body)


def _send(request: BaseHTTPRequestHandler, data: bytes, headers: Mapping[str, str], body: bool) -> None:
    request.send_response(200)
    for name, value in {**headers, "Content-Length": str(len(data))}.items():
        request.send_header(name, value)
    request.end_headers()
    if body:
        request.wfile.write(data)


def _refuse(request: BaseHTTPRequestHandler, code: str) -> None:
    request.send_response(404)
    request.send_header("X-Error-Code", code)
    request.send_header("Content-Length", "0")
    request.end_headers()
