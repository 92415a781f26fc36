"""A web server on this machine."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class _Handler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        if not self.path.startswith("/cut/"):
            return super().do_GET()
        content = Path(self.translate_path(self.path.removeprefix("/cut"))).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:-9])

    def log_message(self, *args: object) -> None:
        pass


class Web(ThreadingHTTPServer):
    """Server of a folder; a file requested below ``/cut/`` ends 9 bytes early.

    Attributes:
        paths: Requested paths, in order.
        url: URL of the folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))
        self.paths: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


@contextmanager
def served(folder: Path) -> Iterator[Web]:
    """Serve ``folder`` while the block runs."""
    with Web(folder) as web:
        threading.Thread(target=web.serve_forever, args=(0.02,), daemon=True).start()
        yield web
        web.shutdown()
