"""The report of running jobs, served to this machine alone and refreshing itself."""

import hashlib
import os
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from mrkd.errors import UserError
from mrkd.reporting.content import page_content, to_json
from mrkd.reporting.html import render
from mrkd.reporting.read import find_runs, read_runs
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
from mrkd.system.output import say

HOST = "127.0.0.1"
_SHOWN = (CONFIG, METRICS, SUMMARY, EVALUATION, EMBEDDING, ATTENTION, SEGMENTATION, RELATIONS)


class WatchServer(ThreadingHTTPServer):
    """Serves the page about some runs on 127.0.0.1; `serve_forever` until `shutdown`.

    Args:
        runs: run directories, finished or not, or directories of comparisons.
        port: 0 for a free one.
    Raises:
        UserError: there is no run, or the port is taken.
    """

    daemon_threads = True

    def __init__(self, runs: Sequence[str | Path], port: int) -> None:
        self.runs = [Path(run) for run in runs]
        read_runs(self.runs)  # says what is wrong now rather than in the browser
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UserError(f"--port {port} cannot be used: {reason}; --port 0 takes a free one") from None

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_port}/"

    def version(self) -> str:
        """Changes whenever a file that the page shows does."""
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
        return page_content(read_runs(self.runs), "mrkd watch " + " ".join(map(str, self.runs)), live=True)


class _Handler(BaseHTTPRequestHandler):
    """Three paths, for whoever names this machine as the host."""

    server: WatchServer
    server_version = "mrkd"
    sys_version = ""

    def do_GET(self) -> None:
        """The page, its content, or the version of it."""
        # A foreign site may let its own name point here, and would then read the answer: it still has to name itself.
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
        except (UserError, OSError) as error:
            return self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", str(error))
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
        """The terminal stays with the user."""


def watch(runs: Sequence[str | Path] | str | Path, port: int = 8765) -> None:
    """Serve the page about running jobs until interrupted.

    Raises:
        UserError: as `WatchServer`.
    """
    with WatchServer([runs] if isinstance(runs, str | Path) else runs, port) as server:
        say(f"watching at {server.url} (Ctrl-C ends it)")
        server.serve_forever()
