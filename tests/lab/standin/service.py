# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Double of an operated HTTP service: real sockets, made-up answers.

    service.py NAME PORT... [--tls CERT KEY] [--answers FILE]

``/health`` and ``/health/db`` answer JSON. A file ``/run/standin/PORT.json`` changes what the port answers, from the next
request on: ``status``, ``delay`` (seconds), ``body``, ``hang`` (accept, never answer), ``drip`` (a byte a second),
``endless`` (a body without end), ``touch`` (make this file, then answer).
"""

from __future__ import annotations

import argparse
import json
import os
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

STARTED = time.time()
BEHAVIOUR = Path("/run/standin")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        try:
            behaviour = json.loads((BEHAVIOUR / f"{self.server.server_port}.json").read_text())
        except FileNotFoundError:
            behaviour = {}
        if "touch" in behaviour:
            Path(behaviour["touch"]).touch()
        if behaviour.get("hang"):
            time.sleep(600)
            return
        time.sleep(behaviour.get("delay", 0))
        answers = self.server.answers
        status, content = (200, answers[self.path]) if self.path in answers else (404, {"error": "not found"})
        status = behaviour.get("status", status)
        body = str(behaviour["body"]).encode() if "body" in behaviour else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if behaviour.get("endless"):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while True:
                self.wfile.write(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not behaviour.get("drip"):
            self.wfile.write(body)
            return
        for byte in body:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(1)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    answers: dict[str, object] = {}  # noqa: RUF012

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that goes away early


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("port", type=int, nargs="+")
    parser.add_argument("--tls", nargs=2)
    parser.add_argument("--answers")
    args = parser.parse_args()
    # The name that ps and the holder of a port are told by.
    Path("/proc/self/comm").write_text(args.name[:15])
    for port in args.port:
        server = Server(("", port), Handler)
        server.answers = {
            "/health": {
                "status": "ok",
                "service": args.name,
                "version": "2.4.1",
                "started": int(STARTED),
                "queue": {"depth": 3, "limit": 10000},
            },
            "/health/db": {"status": "ok", "pool": {"size": 20, "used": 4, "waiting": 0}},
        }
        if args.answers:
            server.answers.update(json.loads(Path(args.answers).read_text()))
        if args.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*args.tls)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    if os.environ.get("NOTIFY_SOCKET"):
        import socket

        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
            notify.send(b"READY=1")
    threading.Event().wait()


if __name__ == "__main__":
    main()
