# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection to a server: by TCP, by a socket, by TLS, or through a program that runs where the server is.

The last is for places whose addresses this host cannot reach: a small program there (socat, bash or nc, whichever there is)
hands bytes on between its standard input and output and the server. Nothing is on its command line but the address.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
from typing import IO, Callable, NamedTuple, Optional

from .place import Command, Place

_BLOCK = 1 << 18
_RELAY = """\
if command -v socat >/dev/null 2>&1; then exec socat - "$1"; fi
if [ -z "$4" ] && command -v bash >/dev/null 2>&1; then exec bash -c '
exec 4<&0 3<>"/dev/tcp/$0/$1" || exit 1
cat <&4 >&3 & up=$!
cat <&3 & down=$!
wait -n
kill $up $down' "$2" "$3"; fi
if command -v nc >/dev/null 2>&1; then
if [ -n "$4" ]; then exec nc -U "$4"; else exec nc "$2" "$3"; fi; fi
echo "none of socat, bash and nc is there" >&2
exit 127
"""


class Peer(NamedTuple):
    """Where a server is. ``path``: its socket, before host and port; ``ca_file``: TLS, and what the server's certificate is checked
    with; ``cert_file`` and ``key_file``: what we show it; ``place``: where a program is to make the connection, None for this process."""

    host: str
    port: int
    path: Optional[str] = None
    ca_file: Optional[str] = None
    cert_file: Optional[str] = None
    key_file: Optional[str] = None
    timeout: float = 30.0
    place: Optional[Place] = None


class Wire:
    """One connection. ``failed`` makes the error of a text that says why it is gone or cannot be had."""

    def __init__(self, peer: Peer, failed: Callable[[str], Exception]) -> None:
        self._failed = failed
        self._relay: Optional[subprocess.Popen[bytes]] = None
        self._said: Optional[IO[bytes]] = None
        try:
            self._socket = self._connected(peer)
            if peer.ca_file:
                import ssl

                context = ssl.create_default_context(cafile=peer.ca_file)
                if peer.cert_file:
                    context.load_cert_chain(peer.cert_file, peer.key_file)
                self._socket = context.wrap_socket(self._socket, server_hostname=peer.host)
        except (OSError, ValueError) as error:
            why = self._relay_said() or getattr(error, "strerror", None) or str(error)
            self.close()
            raise self._failed(why) from None

    def _connected(self, peer: Peer) -> socket.socket:
        if peer.place is not None:
            self._socket, theirs = socket.socketpair()
            self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the connection
            where = "UNIX-CONNECT:" + _escaped(peer.path) if peer.path else "TCP:%s:%d" % (_bracketed(peer.host), peer.port)
            words = ("sh", "-c", _RELAY, "relay", where, peer.host, str(peer.port), peer.path or "")
            started = peer.place.wrap(Command(words))
            with theirs:
                end = theirs.fileno()
                self._relay = subprocess.Popen(
                    started.argv, env=started.env, cwd=started.cwd, stdin=end, stdout=end, stderr=self._said, start_new_session=True
                )
            self._socket.settimeout(peer.timeout)
        elif peer.path:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(peer.timeout)
            self._socket.connect(peer.path)
        else:
            self._socket = socket.create_connection((peer.host, peer.port), timeout=peer.timeout)
        return self._socket

    def close(self) -> None:
        """End the connection, and the program that makes it."""
        with contextlib.suppress(OSError, AttributeError):  # it may not have come so far
            self._socket.close()
        if self._relay is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._relay.wait(1)
            self._relay.kill()
            self._relay.wait()
        if self._said is not None:
            self._said.close()

    def wait(self, seconds: Optional[float]) -> None:
        """How long the server may say nothing from now on; None: as long as it likes."""
        self._socket.settimeout(seconds)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise self._gone(error) from None

    def receive(self, most: int = _BLOCK) -> bytes:
        """What has come, at least a byte."""
        try:
            block = self._socket.recv(most)
        except OSError as error:
            raise self._gone(error) from None
        if not block:
            raise self._failed(self._relay_said() or "it closed the connection")
        return block

    def _gone(self, error: OSError) -> Exception:
        if isinstance(error, socket.timeout):
            return self._failed("no answer in time")
        return self._failed(self._relay_said() or error.strerror or str(error))

    def _relay_said(self) -> str:
        """Why the program in the place has ended, if it has."""
        if self._relay is None or self._said is None:
            return ""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._relay.wait(1)
        self._said.seek(0)
        return " ".join(self._said.read(2000).decode("utf-8", "replace").split())


def _bracketed(host: str) -> str:
    return "[%s]" % host if ":" in host else host


def _escaped(path: str) -> str:
    """A path as socat reads it."""
    return "".join("\\" + one if one in "\\,:!\"'{}[]()" else one for one in path)
