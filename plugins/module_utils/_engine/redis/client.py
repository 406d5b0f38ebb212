# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small client of Redis: commands, and the dump of all its data over the wire.

``redis-cli --rdb`` is not used: versions of it end with status 0 after a transfer that was cut, leave the end mark in what they
write to standard output, or fail there after all went well. Here the stream's own length or end mark decides.
"""

from __future__ import annotations

import contextlib
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Union

from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import Place
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.wire import Peer, Wire

#: A server that makes the dump says nothing for as long as its own ping period, 10 s unless it was changed.
_QUIET = 60.0
_MARK = 40
_LONGEST = 1 << 29


class RedisError(Exception):
    """``code``: ``unreachable``, ``denied``, ``loading`` (not ready yet) or ``failed``. The text holds no secrets."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Address(NamedTuple):
    """Where a server is and who asks. ``socket`` before host and port; ``ca_file``: TLS, and what its certificate is checked with;
    ``cert_file`` and ``key_file``: what it checks us with; ``place``: where a program is to connect, None for this process."""

    host: str = "127.0.0.1"
    port: int = 6379
    socket: Optional[str] = None
    user: Optional[str] = None
    password: Optional[str] = None
    ca_file: Optional[str] = None
    timeout: float = 30.0
    cert_file: Optional[str] = None
    key_file: Optional[str] = None
    place: Optional[Place] = None

    @property
    def shown(self) -> str:
        """For messages."""
        return self.socket or "%s port %d" % (self.host, self.port)


class Client:
    """One connection."""

    def __init__(self, address: Address) -> None:
        self._address = address
        peer = Peer(
            address.host,
            address.port,
            address.socket,
            address.ca_file,
            address.cert_file,
            address.key_file,
            address.timeout,
            address.place,
        )
        self._wire = Wire(peer, lambda why: RedisError("unreachable", "Redis at %s: %s" % (address.shown, why)))
        self._buffer = b""
        try:
            if address.password is not None:
                self.ask("AUTH", *([address.user] if address.user else []), address.password)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the connection."""
        self._wire.close()

    def ask(self, *words: Union[str, bytes, int]) -> Any:
        """Send a command and return its answer; texts are bytes. Raises RedisError."""
        self._send(*words)
        return self._answer(str(words[0]))

    def info(self, section: str) -> Dict[str, str]:
        """A section of the server's own account."""
        lines = self.ask("INFO", section).decode("utf-8", "replace").splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))

    def config(self, name: str) -> Optional[str]:
        """A setting; None when there is none of this name."""
        found = self.ask("CONFIG", "GET", name)
        return found[1].decode("utf-8", "surrogateescape") if found else None

    def sizes(self) -> Dict[int, Dict[str, int]]:
        """Per database with keys, ``keys`` and ``expires``."""
        return {
            int(name[2:]): {key: int(value) for key, value in (part.split("=") for part in told.split(",")) if value.isdigit()}
            for name, told in self.info("keyspace").items()
            if name.startswith("db")
        }

    def dump(self) -> Iterator[bytes]:
        """All data as an RDB file, in blocks; ends well only when all of it came. Raises RedisError."""
        for words in (("REPLCONF", "rdb-only", "1"), ("REPLCONF", "capa", "eof")):
            try:
                self.ask(*words)
            except RedisError as error:  # an older server does not know them: it sends a length and the changes after the dump
                if error.code in ("unreachable", "denied"):
                    raise
        self._wire.wait(max(self._address.timeout, _QUIET))
        self._send("SYNC")
        line = b""
        while not line:  # an empty line says that the server is still at it
            line = self._line()
        if line[:1] == b"-":
            raise self._refused("SYNC", line[1:])
        if line.startswith(b"$EOF:") and len(line) == 5 + _MARK:
            yield from self._until(line[5:])
        elif line[:1] == b"$" and line[1:].isdigit():
            yield from self._so_many(int(line[1:]))
        else:
            raise RedisError("failed", "Redis at %s: SYNC was answered by %r" % (self._address.shown, line[:40]))

    def _so_many(self, left: int) -> Iterator[bytes]:
        while left:
            block = self._buffer or self._wire.receive()
            self._buffer = block[left:]
            block = block[:left]
            left -= len(block)
            yield block

    def _until(self, mark: bytes) -> Iterator[bytes]:
        """Blocks until the mark, which ends the stream: it can only be told from data by nothing coming after it."""
        held = self._buffer
        self._buffer = b""
        while not held.endswith(mark):
            block = self._wire.receive()
            if len(held) > _MARK:
                yield held[:-_MARK]
                held = held[-_MARK:]
            held += block
        if len(held) > _MARK:
            yield held[:-_MARK]

    def _send(self, *words: Union[str, bytes, int]) -> None:
        parts = [word if isinstance(word, bytes) else str(word).encode("utf-8", "surrogateescape") for word in words]
        data = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self._wire.send(data)

    def _line(self) -> bytes:
        while b"\n" not in self._buffer:
            if len(self._buffer) > 65536:
                raise RedisError("failed", "%s does not speak Redis' protocol" % self._address.shown)
            self._buffer += self._wire.receive()
        line, _newline, self._buffer = self._buffer.partition(b"\n")
        return line[:-1] if line.endswith(b"\r") else line

    def _answer(self, command: str) -> Any:
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest
        if kind == b"-":
            raise self._refused(command, rest)
        try:
            number = int(rest)
        except ValueError:
            number = -2
        if kind == b":" and number != -2:
            return number
        if kind == b"$" and -1 <= number <= _LONGEST:
            return None if number == -1 else self._exactly(number)
        if kind == b"*" and -1 <= number <= _LONGEST:
            found: List[Any] = [self._answer(command) for _at in range(number)]
            return found
        raise RedisError("failed", "%s does not speak Redis' protocol" % self._address.shown)

    def _exactly(self, number: int) -> bytes:
        parts = [self._buffer]
        have = len(self._buffer)
        while have < number + 2:
            parts.append(self._wire.receive())
            have += len(parts[-1])
        data = b"".join(parts)
        self._buffer = data[number + 2 :]
        return data[:number]

    def _refused(self, command: str, said: bytes) -> RedisError:
        text = said.decode("utf-8", "replace")[:300]
        word = text.split(" ", 1)[0]
        code = "denied" if word in ("NOAUTH", "WRONGPASS", "NOPERM", "DENIED") or "invalid password" in text.lower() else "failed"
        if word in ("LOADING", "BUSY", "MASTERDOWN"):
            code = "loading"
        if command == "AUTH":  # servers repeat parts of what they do not like
            why = " by its protected mode" if word == "DENIED" else ", for no password is set" if "without any password" in text else ""
            code, text = "denied", "the login was refused" + why
        return RedisError(code, "Redis at %s: %s: %s" % (self._address.shown, command, text))


@contextlib.contextmanager
def connected(address: Address) -> Iterator[Client]:
    """A connection for a block. Raises RedisError."""
    client = Client(address)
    try:
        yield client
    finally:
        client.close()
