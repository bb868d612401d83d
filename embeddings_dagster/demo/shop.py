"""The sample's shop: its photos served on this machine for as long as the demo runs, and a catalogue that leads there.

Nothing but the files of one flat folder is served, to nobody but this machine.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CATALOGUE = "products.csv"
ADDRESS = "127.0.0.1"
BASE = re.compile(rf"http://{re.escape(ADDRESS)}:(\d+)")


@contextmanager
def open_shop(sample: Path, folder: Path) -> Iterator[None]:
    """Serve the photos of `sample`, and keep `folder`/products.csv leading to them.

    The port is the one that the catalogue had before, so that a second demo finds it unchanged; another one where that
    is taken, and the catalogue then says so.
    """
    template = (sample / CATALOGUE).read_text(encoding="utf-8")
    written = folder / CATALOGUE
    former = written.read_text(encoding="utf-8") if written.exists() else template
    server = _bind(sample / "photos", int(BASE.findall(former)[0]))
    text = BASE.sub(f"http://{ADDRESS}:{server.server_port}", template)
    if not written.exists() or text != former:
        written.write_text(text, encoding="utf-8")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _bind(photos: Path, port: int) -> ThreadingHTTPServer:
    try:
        return ThreadingHTTPServer((ADDRESS, port), _handler(photos))
    except OSError:  # somebody else has it
        return ThreadingHTTPServer((ADDRESS, 0), _handler(photos))


def _handler(photos: Path) -> type[BaseHTTPRequestHandler]:
    names = {each.name: each for each in photos.iterdir()}

    class Photos(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            photo = names.get(self.path.removeprefix("/photos/"))
            data = photo.read_bytes() if photo else b"no such photo\n"
            self.send_response(HTTPStatus.OK if photo else HTTPStatus.NOT_FOUND)
            self.send_header("Content-Type", "image/jpeg" if photo else "text/plain")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """The demo's output is its own."""

    return Photos
