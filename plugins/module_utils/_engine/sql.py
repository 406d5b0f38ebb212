# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the PostgreSQL and the MySQL engine have in common: keys, programs that talk to a server, names, artifacts read."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
from typing import IO, Any, Callable, Dict, Generator, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import Command, Limits
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.stream import BLOCK, TAIL, StreamError

from .artifact import Artifact
from .base import EngineError, Stored, Work, compare, from_program

TIMEOUT = 30.0
#: A restored database takes about the space of the old one, and its log.
_SPACE = 1.3
_SPACE_LEAST = 64 << 20


#: Where a drill restores: into a server of its own; into the backup's own server, as a role without all rights; or there as
#: whoever it is. To load a dump runs its author's code with the rights of the role that loads it.
OWN, LIVE, LIVE_AS_SUPERUSER = DRILL_SERVERS = ("own", "live", "live_as_superuser")
#: Runs the servers of drills where root makes them: it owns nothing on a host.
NOBODY = "nobody"

# Keys of an artifact


def _port(value: Any, path: str) -> int:
    number = read.whole(value, path)
    if not 1 <= number <= 65535:
        raise OptionError(path, "%d is no port" % number)
    return number


def _password(value: Any, path: str) -> str:
    """Whatever an environment variable can hold; what is wrong with it is told without it."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or not str(value) or "\0" in str(value):
        raise OptionError(path, "is to be a text")
    return str(value)


READERS: Mapping[str, read.Reader] = {
    "database": read.text,
    "host": read.text,
    "port": _port,
    "user": read.text,
    "password": _password,
    "ca_file": read.absolute,
    "cert_file": read.absolute,
    "key_file": read.absolute,
    "run_as": read.user,
    "timeout": read.duration,
    "drill_server": read.choice(*DRILL_SERVERS),
}


def parse(item: Mapping[str, Any], path: str) -> Dict[str, Any]:
    """What goes together in the keys of both. OptionError."""
    found = dict(item)
    content = found.setdefault("content", "tables" if found.get("tables") else "whole")
    if content == "tables" and not found.get("tables"):
        raise OptionError(path + ".tables", "is required with content tables and is missing")
    if content != "tables" and found.get("tables"):
        raise OptionError(path + ".tables", "goes with content tables only", hint="content: tables")
    if bool(found.get("cert_file")) != bool(found.get("key_file")):
        raise OptionError(path + (".key_file" if found.get("cert_file") else ".cert_file"), "is required with the other one and is missing")
    if found.get("cert_file") and not found.get("ca_file"):
        raise OptionError(path + ".ca_file", "is required with cert_file: who is shown a certificate is to have one that is checked")
    if found.get("ca_file") and str(found.get("host") or "/").startswith("/"):
        raise OptionError(path + ".ca_file", "goes with a host only: a socket has no certificate")
    return found


def drills_apart(spec: Optional[Mapping[str, Any]]) -> bool:
    """Whether a drill makes a server of its own."""
    return spec is None or spec.get("drill_server", OWN) == OWN


def refuse_all_rights(spec: Mapping[str, Any], role: str, has_all: bool) -> None:
    """Raises EngineError where a drill would load a dump into a live server as one who may do everything."""
    if has_all and spec.get("drill_server") != LIVE_AS_SUPERUSER:
        raise EngineError(
            "failed",
            "%s has all rights on the server, and loading a dump runs its author's code with them: drill in a server of its own "
            "(drill_server: own), as another user, or say drill_server: live_as_superuser" % role,
        )


# Programs that talk to a server


def code_of(text: str, codes: Sequence[Tuple[str, str]]) -> str:
    """The code of the first pattern that is in a text."""
    return next((code for pattern, code in codes if re.search(pattern, text)), "failed")


class Client:
    """A server as a backup's options name it. Passwords are in the environment of programs alone."""

    #: What programs say, as patterns, by the code of an EngineError.
    CODES: Sequence[Tuple[str, str]] = ()

    def __init__(self, spec: Mapping[str, Any], work: Work) -> None:
        self.spec, self.work = spec, work
        self.timeout = float(spec.get("timeout") or TIMEOUT)

    def code_of(self, text: str) -> str:
        """The code of an EngineError from what a program said."""
        return code_of(text, self.CODES)

    def mask(self, text: str) -> str:
        """A message without the password."""
        password = self.spec.get("password")
        return text.replace(password, "***") if password else text

    def bare(self, said: str) -> str:
        """What a program said without the data of the statement that failed."""
        return said

    def patience(self, hurried: bool) -> float:
        """Seconds that a script may take. ``hurried``: the server has only to answer."""
        limit = (self.work.limits or Limits()).seconds
        return min(2 * self.timeout + 10, limit) if hurried else limit

    def error(self, error: StreamError, code: Optional[str] = None) -> EngineError:
        """A program's failure as the engine's."""
        text = self.mask(str(StreamError(error.program, error.status, self.bare(error.said))))
        found = code or self.code_of(text)
        return EngineError(found, text) if found == "unreachable" else from_program(error, found, text)

    def output(self, what: Command, stdin: bytes = b"", size: int = BLOCK) -> Generator[bytes, None, None]:
        """What a program prints, in blocks. EngineError at its end when it failed; leaving it early ends the program."""
        try:
            with stream.produced(what._replace(stdin=stdin), self.work.limits, self.work.place) as file:
                while True:
                    block = file.read1(size)  # type: ignore[attr-defined, unused-ignore]  # what is there; it is a pipe
                    if not block:
                        break
                    yield block
        except StreamError as error:
            raise self.error(error) from None


class Session:
    """A program that is kept open: a transaction, its snapshot and its locks live as long as it does."""

    def __init__(self, client: Client, what: Command) -> None:
        self._client, self._program = client, what.program
        self._mark = "-- %s --" % os.urandom(12).hex()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the session
        started = client.work.place.wrap(what, None)
        try:
            self._process = subprocess.Popen(
                started.argv,
                env=started.env,
                cwd=started.cwd,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                start_new_session=True,
            )
        except OSError as error:
            self._said.close()
            missing = isinstance(error, FileNotFoundError)
            text = "%s %s" % (what.program, "is not installed" if missing else "cannot be started: %s" % error.strerror)
            raise EngineError("unreachable", text) from None
        self._deadline = stream.Deadline(client.work.limits)
        self._deadline.watch(what.program, self._process)

    def send(self, data: bytes) -> None:
        """Write to the program: a statement, or a part of one. EngineError when it is gone."""
        try:
            self._process.stdin.write(data)  # type: ignore[union-attr]  # it is a pipe
        except (OSError, ValueError):
            raise self._gone() from None

    def ask(self, statement: str) -> str:
        """Run one statement and return what it prints. EngineError with the server's message."""
        self.send(statement.encode("utf-8", "surrogateescape") + b";\n")
        return self.answer()

    def answer(self) -> str:
        """What was printed since the last answer, when all that was sent is done."""
        raise NotImplementedError

    def number(self, query: str) -> int:
        """The one number of a query."""
        return int(self.ask(query))

    def _lines(self, question: str) -> Generator[str, None, None]:
        """Send what has the mark printed; the lines until then and after. EngineError when the program ends."""
        self.send(question.encode())
        try:
            self._process.stdin.flush()  # type: ignore[union-attr]  # it is a pipe
        except (OSError, ValueError):
            raise self._gone() from None
        for line in self._process.stdout:  # type: ignore[union-attr]  # it is a pipe
            yield line.decode("utf-8", "surrogateescape").rstrip("\n")
        raise self._gone()

    def _gone(self) -> EngineError:
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
        try:
            status: Optional[int] = self._process.wait(5)
        except subprocess.TimeoutExpired:
            status = None
        late = self._deadline.error()
        if late:
            return self._client.error(late)
        with contextlib.suppress(ValueError):
            self._said.seek(0)
            said = " ".join(self._said.read()[-TAIL:].decode("utf-8", "replace").split())
            error = StreamError(self._program, status, said)
            return self._client.error(error, None if said or error.interrupted else "unreachable")
        return EngineError("unreachable", "the session was closed")

    def close(self) -> None:
        """End the session: what was not committed is not done."""
        self._deadline.cancel()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError, ValueError):
                pipe.close()  # type: ignore[union-attr]  # it is a pipe
        self._said.close()


def fitted(base: str, suffix: str, most: int, measured: Callable[[str], int]) -> str:
    """``base`` and ``suffix`` as one name that the server takes; what is cut is told apart by its sum."""
    if measured(base + suffix) <= most:
        return base + suffix
    import zlib

    mark = "_%08x" % (zlib.crc32(base.encode("utf-8", "surrogateescape")) & 0xFFFFFFFF)
    while measured(base + mark + suffix) > most:
        base = base[:-1]
    return base + mark + suffix


# Artifacts


def compression(artifact: Artifact, stored: Stored) -> str:
    """How an artifact is compressed; by its file's ending where the manifest does not tell."""
    name = stored.path[: -len(".age")] if stored.path.endswith(".age") else stored.path
    return artifact.compression or {".zst": "zstd", ".gz": "gzip"}.get(os.path.splitext(name)[1], "none")


def opened_artifact(artifact: Artifact, stored: Stored, work: Work) -> contextlib.AbstractContextManager[IO[bytes]]:
    """The raw stream of an artifact."""
    return stream.read(stored.path, compression(artifact, stored), bool(artifact.encryption), stored.identity, work.limits)


def same(wanted: Mapping[str, int], found: Mapping[str, int]) -> None:
    """EngineError when an artifact holds something else than its manifest tells."""
    wrong: List[str] = compare(wanted, found)
    if wrong:
        raise EngineError("damaged", "holds something else than the manifest tells: " + "; ".join(wrong[:10]))


def space_needed(artifact: Artifact) -> int:
    """Bytes that a restored copy takes."""
    return int((artifact.source.get("bytes") or artifact.size * 4) * _SPACE) + _SPACE_LEAST


def enough_space(folder: Optional[str], artifact: Artifact) -> None:
    """EngineError when a restored copy does not fit into the folder; None is not known."""
    if folder:
        found = os.statvfs(folder)
        free, needed = found.f_bavail * found.f_frsize, space_needed(artifact)
        if free < needed:
            raise EngineError("space", "%d bytes are free in %s, %d are needed" % (free, folder, needed))
