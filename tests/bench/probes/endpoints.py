# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoints of the bench: answer /<milliseconds> after that time, over http and https, with little work of their own."""

from __future__ import annotations

import heapq
import itertools
import selectors
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\n\r\n{"status":"UP"}'
_DONE, _LATER = -1, -2


def listener() -> socket.socket:
    """A listening socket on a free port."""
    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    sock.setblocking(False)
    return sock


def answer(sock: socket.socket, context: ssl.SSLContext | None) -> Iterator[tuple[int, socket.socket, float]]:
    """Serve one connection: yields what is waited for, a selectors' mask or ``_LATER``, and when the answer is due."""
    sock.setblocking(False)
    if context is not None:
        sock = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        yield selectors.EVENT_READ, sock, 0
        while True:
            try:
                sock.do_handshake()
                break
            except ssl.SSLWantReadError:
                yield selectors.EVENT_READ, sock, 0
    request = b""
    while b"\r\n\r\n" not in request:
        try:
            request += sock.recv(4096)
        except (BlockingIOError, ssl.SSLWantReadError):
            yield selectors.EVENT_READ, sock, 0
    yield _LATER, sock, time.monotonic() + float(request.split(b" ", 2)[1][1:]) / 1000
    sock.sendall(ANSWER)
    sock.close()
    yield _DONE, sock, 0


def serve(folder: Path) -> None:
    """Serve until killed; write the ports to standard output."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "it.pem", folder / "it.key")
    selector = selectors.DefaultSelector()
    due: list[tuple[float, int, Iterator[tuple[int, socket.socket, float]]]] = []
    count = itertools.count()
    listeners = {listener(): None, listener(): context}
    for sock in listeners:
        selector.register(sock, selectors.EVENT_READ)
    print(*(sock.getsockname()[1] for sock in listeners), flush=True)

    def advance(steps: Iterator[tuple[int, socket.socket, float]], known: bool) -> None:
        try:
            what, sock, when = next(steps)
        except OSError as error:  # a client that hung up
            print(error, file=sys.stderr)
            return
        if what == _LATER:
            if known:
                selector.unregister(sock)
            heapq.heappush(due, (when, next(count), steps))
        elif what != _DONE and not known:
            selector.register(sock, what, steps)

    while True:
        for key, _mask in selector.select(max(0.0, due[0][0] - time.monotonic()) if due else None):
            if key.data is not None:
                advance(key.data, True)
                continue
            try:
                while True:
                    advance(answer(key.fileobj.accept()[0], listeners[key.fileobj]), False)
            except BlockingIOError:
                pass
        while due and due[0][0] <= time.monotonic():
            advance(heapq.heappop(due)[2], False)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
