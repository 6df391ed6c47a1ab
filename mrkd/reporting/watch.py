"""`mrkd watch`: a live report of running jobs, served on this machine only."""

import contextlib
import hashlib
import os
import socket
import sys
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from mrkd.errors import UserError
from mrkd.reporting.content import page_content, to_json
from mrkd.reporting.html import render
from mrkd.reporting.read import find_runs, read_runs
from mrkd.runs.metrics import ThinnedMetrics
from mrkd.runs.run import (
    ATTENTION,
    CONFIG,
    EMBEDDING,
    EVALUATION,
    METRICS,
    RELATIONS,
    SEGMENTATION,
    SUMMARY,
)
from mrkd.system.output import printable, say

HOST = "127.0.0.1"
MOST_REQUESTS = 16
REQUEST_SECONDS = 20.0
_SHOWN = (CONFIG, METRICS, SUMMARY, EVALUATION, EMBEDDING, ATTENTION, SEGMENTATION, RELATIONS)


class WatchServer(ThreadingHTTPServer):
    """Serves a live page about some runs on 127.0.0.1, from `serve_forever` until `shutdown`.

    At most `MOST_REQUESTS` are served at a time, and none for longer than `REQUEST_SECONDS`.

    Args:
        runs: run directories, finished or not, or directories of comparisons.
        port: 0 for a free one.
    Raises:
        UserError: there is no run, or the port is taken.
    """

    daemon_threads = True

    def __init__(self, runs: Sequence[str | os.PathLike[str]], port: int) -> None:
        self.runs = [Path(run) for run in runs]
        self._metrics: dict[Path, ThinnedMetrics] = {}
        self._reading = threading.Lock()
        self._free = threading.BoundedSemaphore(MOST_REQUESTS)
        self.content()  # says what is wrong now rather than in the browser
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UserError(f"--port {port} cannot be used: {reason}; --port 0 takes a free one") from None

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{HOST}:{self.server_port}/"

    def version(self) -> str:
        """A hash that changes whenever a file of the page's data changes."""
        digest = hashlib.sha256()
        for run in find_runs(self.runs):
            for name in _SHOWN:
                try:
                    found = os.stat(run / name)
                except FileNotFoundError:
                    continue
                digest.update(f"{run / name}\0{found.st_mtime_ns}\0{found.st_size}\n".encode())
        return digest.hexdigest()

    def content(self) -> dict[str, object]:
        """What the page shows now."""
        with self._reading:  # each request would otherwise take its own memory, and read the same files
            runs = read_runs(self.runs, self._metrics)
        return page_content(runs, "mrkd watch " + " ".join(map(str, self.runs)), live=True)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve it in a thread of its own, or refuse it when too many are being served."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        with contextlib.suppress(OSError):
            request.settimeout(1.0)
            request.sendall(b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """End a client that sends or reads too slowly, whatever it does."""
        limit = threading.Timer(REQUEST_SECONDS, _hang_up, [request])
        limit.daemon = True
        limit.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            limit.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is nothing to tell; anything else is one line."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            say(f"a request failed: {type(error).__name__}: {error}")


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may have ended by itself
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """Serves three paths, for requests with this machine as host."""

    server: WatchServer
    timeout = REQUEST_SECONDS
    server_version = "mrkd"
    sys_version = ""

    def do_GET(self) -> None:
        """The page, its content, or the version of it."""
        # DNS rebinding: a foreign site may let its name resolve to this machine. Its requests still have its name as
        # host.
        names = {f"{name}:{self.server.server_port}" for name in (HOST, "localhost")}
        if self.headers.get_all("Host", []) not in [[name] for name in names]:
            return self._answer(HTTPStatus.FORBIDDEN, "text/plain", f"this page is at {self.server.url} only\n")
        try:
            if self.path == "/":
                return self._answer(HTTPStatus.OK, "text/html", render(self.server.content()))
            if self.path == "/content":
                return self._answer(HTTPStatus.OK, "application/json", to_json(self.server.content()))
            if self.path == "/version":
                return self._answer(HTTPStatus.OK, "text/plain", self.server.version())
        except (ConnectionError, TimeoutError):
            raise  # the client's
        except Exception as error:  # whatever is to be found in a file that is half written
            reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            return self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", printable(reason))
        return self._answer(HTTPStatus.NOT_FOUND, "text/plain", "no such page\n")

    def _answer(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing to the terminal."""


def watch(runs: Sequence[str | os.PathLike[str]] | str | os.PathLike[str], port: int = 8765) -> None:
    """Serve the page about running jobs until interrupted.

    Raises:
        UserError: as `WatchServer`.
    """
    with WatchServer([runs] if isinstance(runs, str | os.PathLike) else runs, port) as server:
        say(f"watching at {server.url} (Ctrl-C ends it)")
        server.serve_forever()
