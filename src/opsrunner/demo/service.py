# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's service: HTTP and TLS endpoints, a log that goes on; ends by itself when nobody asks it anything."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

from opsrunner.demo import STATE_FILE, data
from opsrunner.find.collection import runs

#: Seconds after which it ends in any case: its backups and its certificate are made for a day.
LIFETIME = 12 * 3600
_SLOW = 1.2
_HEALTH = {"status": "ok", "version": "4.2.0"}
_READY = {
    "status": "degraded",
    "components": {
        "database": {"status": "ok", "latency_ms": 3},
        "queue": {"status": "degraded", "depth": 1840},
        "cache": {"status": "ok", "hit_rate": 0.93},
    },
}
_PATHS: dict[str, tuple[int, dict[str, Any]]] = {
    "/health": (200, _HEALTH),
    "/orders/health": (200, _HEALTH),
    "/ready": (200, _READY),
    "/search": (200, {"hits": 128}),
    "/payments/health": (503, {"status": "down", "reason": "no connection to the payment gateway"}),
}


class _Handler(BaseHTTPRequestHandler):
    server_version = "demo"
    timeout = 10

    def do_GET(self) -> None:
        """Answer as the path says; one of them takes its time."""
        _Service.touched = time.monotonic()
        path = self.path.partition("?")[0]
        if path == "/search":
            time.sleep(_SLOW)
        status, content = _PATHS.get(path, (404, {"error": "not found"}))
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Requests are not logged: the demo's log is made up."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in mid-answer is no error of ours."""


class _TlsServer(_Server):
    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._context = context

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands in the connection's own thread."""
        request.settimeout(10)
        with self._context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)


class _Service:
    touched = time.monotonic()

    def __init__(self, folder: Path, idle: float) -> None:
        self._folder = folder
        self._idle = idle
        self._ended = threading.Event()

    def run(self) -> None:
        """Serve until told to end, idle, old, or without a folder."""
        signal.signal(signal.SIGTERM, self._end)
        files = data.make(self._folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files["certificate"], files["key"])
        servers = [_Server(("127.0.0.1", 0), _Handler), _TlsServer(context)]
        for server in servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()
        self._announce(files, [server.server_address[1] for server in servers])
        started = time.monotonic()
        while not self._ended.wait(2.0):
            now = time.monotonic()
            if now - _Service.touched > self._idle or now - started > LIFETIME or not (self._folder / STATE_FILE).exists():
                break
            with contextlib.suppress(OSError):
                data.append_log(Path(files["log"]), time.time())
        with contextlib.suppress(OSError):
            (self._folder / STATE_FILE).unlink()

    def _announce(self, files: dict[str, str], ports: list[Any]) -> None:
        state = {
            **files,
            "pid": os.getpid(),
            "started": runs.process_start(os.getpid()),
            "url": f"http://127.0.0.1:{ports[0]}",
            "http_port": ports[0],
            "tls_port": ports[1],
            "idle": self._idle,
        }
        partial = self._folder / f".{STATE_FILE}"
        partial.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
        partial.replace(self._folder / STATE_FILE)

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._ended.set()


if __name__ == "__main__":
    _Service(Path(sys.argv[1]), float(sys.argv[2])).run()
