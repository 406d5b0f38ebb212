# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections: names, addresses of both families, plain and TLS streams, as step functions of the engine."""

from __future__ import annotations

import errno
import math
import selectors
import socket
from collections import deque
from typing import Any, Deque, Dict, List, Optional, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import message

from .loop import Future, Loop, Ready, Steps, result_of, wait_for
from .outcome import Failure, Trace, system_reason

Address = Tuple[int, Tuple[Any, ...]]

#: How long the first address is given before the next is tried beside it (RFC 8305, section 8).
HEAD_START = 0.25
_IN_PROGRESS = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN)


def shown(host: str, port: int) -> str:
    """``host:port``, with brackets around IPv6."""
    return "[%s]:%d" % (host, port) if ":" in host else "%s:%d" % (host, port)


def literal_family(host: str) -> Optional[int]:
    """The family of an IP address, None for a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host.partition("%")[0])
        except (OSError, ValueError):
            continue
        return family
    return None


class Names:
    """Looks names up with the system's resolver, each once for all probes."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._found: Dict[str, Future] = {}

    def addresses(self, host: str, port: int, until: float) -> Steps[List[Address]]:
        """The addresses of a host. Raises Failure, TimeoutError."""
        family = literal_family(host)
        if family == socket.AF_INET:
            return [(family, (host, port))]
        if host not in self._found:
            self._found[host] = self._loop.call(lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
        future = self._found[host]
        try:
            found = yield from result_of(future, until)
        except socket.gaierror as error:
            self._found.pop(host, None)  # a later attempt is to ask again
            again = error.errno == socket.EAI_AGAIN
            raise Failure(message("reason.probe_name_again" if again else "reason.probe_name_unknown", host=host)) from None
        except (OSError, UnicodeError):
            self._found.pop(host, None)
            raise Failure(message("reason.probe_name_unknown", host=host)) from None
        return interleave([(item[0], (item[4][0], port, *item[4][2:])) for item in found if item[0] in (socket.AF_INET, socket.AF_INET6)])


def interleave(addresses: List[Address]) -> List[Address]:
    """The addresses with the families taking turns, the resolver's first one first (RFC 8305, section 4)."""
    first = [item for item in addresses if item[0] == addresses[0][0]]
    second = [item for item in addresses if item[0] != addresses[0][0]]
    mixed: List[Address] = []
    for index in range(max(len(first), len(second))):
        mixed += first[index : index + 1] + second[index : index + 1]
    return list(dict.fromkeys(mixed))


def connect(loop: Loop, addresses: List[Address], until: float) -> Steps[Tuple[socket.socket, Address]]:
    """Connect to the first address that lets itself be; a slow one gets company after ``HEAD_START``. Raises Failure, TimeoutError."""
    queue: Deque[Address] = deque(addresses)
    trying: Dict[socket.socket, Address] = {}
    last = Failure(message("reason.probe_unreachable"))
    next_start = loop.clock()
    try:
        while True:
            while queue and (loop.clock() >= next_start or not trying):
                address = queue.popleft()
                try:
                    sock = _start_connect(address)
                except OSError as error:
                    last = Failure(system_reason(error))
                    continue
                trying[sock] = address
                next_start = loop.clock() + HEAD_START
            if not trying:
                raise last
            limit = min(until, next_start) if queue else until
            ready = yield Ready([(sock, selectors.EVENT_WRITE) for sock in trying], limit)
            for sock in ready:
                address = trying.pop(sock)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not code:
                    return sock, address
                sock.close()
                last = Failure(system_reason(OSError(code, errno.errorcode.get(code, str(code)))))
                next_start = loop.clock()
            if not ready and loop.clock() >= until:
                raise TimeoutError
    finally:
        for sock in trying:
            sock.close()


def _start_connect(address: Address) -> socket.socket:
    sock = socket.socket(address[0], socket.SOCK_STREAM)
    sock.setblocking(False)
    code = sock.connect_ex(address[1])
    if code and code not in _IN_PROGRESS:
        sock.close()
        raise OSError(code, errno.errorcode.get(code, str(code)))
    return sock


class Stream:
    """A connection, plain or TLS, whose every wait ends with the trace's time."""

    def __init__(self, loop: Loop, sock: socket.socket, trace: Trace) -> None:
        self.sock: Any = sock
        self._loop = loop
        self._trace = trace

    def start_tls(self, context: Any, server_name: Optional[str]) -> Steps[None]:
        """Shake hands. Raises ssl.SSLError, Failure, TimeoutError."""
        import ssl

        sock = context.wrap_socket(self.sock, server_hostname=server_name, do_handshake_on_connect=False)
        self.sock = sock
        began = 0.0

        def go_on() -> None:
            now = self._trace.clock()
            self._trace.leave_out(now - began)
            if now >= self._trace.until:
                raise TimeoutError
            sock.do_handshake()

        first = True
        while True:
            try:
                if first:  # to say hello is little work
                    first = False
                    sock.do_handshake()
                else:
                    began = self._trace.clock()
                    # However late: a socket that was closed meanwhile would let the thread write to whoever has its number then.
                    yield from result_of(self._loop.compute(go_on), math.inf)
                return
            except ssl.SSLWantReadError:
                yield from wait_for(sock, selectors.EVENT_READ, self._trace.until)
            except ssl.SSLWantWriteError:
                yield from wait_for(sock, selectors.EVENT_WRITE, self._trace.until)

    def send(self, data: bytes) -> Steps[None]:
        """Send everything. Raises Failure, TimeoutError."""
        view = memoryview(data)
        while view:
            try:
                view = view[self.sock.send(view) :]
            except OSError as error:
                yield from self._wait_after(error, selectors.EVENT_WRITE)

    def receive(self, size: int = 65536) -> Steps[bytes]:
        """What comes next; empty at the end. Raises Failure, TimeoutError."""
        while True:
            if self._trace.clock() >= self._trace.until:  # a server that never pauses must not outlast the time
                raise TimeoutError
            try:
                return bytes(self.sock.recv(size))
            except OSError as error:
                if type(error).__name__ in ("SSLEOFError", "SSLZeroReturnError"):
                    return b""
                yield from self._wait_after(error, selectors.EVENT_READ)

    def _wait_after(self, error: OSError, mask: int) -> Steps[None]:
        name = type(error).__name__
        if name == "SSLWantReadError":
            mask = selectors.EVENT_READ
        elif name == "SSLWantWriteError":
            mask = selectors.EVENT_WRITE
        elif not isinstance(error, BlockingIOError):
            if name.startswith("SSL"):
                raise Failure(message("reason.probe_tls_protocol", error=str(getattr(error, "reason", None) or error))) from None
            raise Failure(system_reason(error)) from None
        yield from wait_for(self.sock, mask, self._trace.until)

    def close(self) -> None:
        """Hang up, without waiting for anything."""
        self.sock.close()


def open_stream(loop: Loop, names: Names, host: str, port: int, trace: Trace) -> Steps[Stream]:
    """Look the name up and connect; both are timed. Raises Failure, TimeoutError."""
    trace.enter("name")
    addresses = yield from names.addresses(host, port, trace.until)
    trace.leave()
    trace.enter("connect")
    sock, address = yield from connect(loop, addresses, trace.until)
    trace.leave()
    trace.evidence["address"] = shown(str(address[1][0]), port)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Stream(loop, sock, trace)
