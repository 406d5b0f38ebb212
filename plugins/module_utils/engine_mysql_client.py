# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the MySQL engine talks to a server: by mariadb or mysql, no driver; passwords only in the environment."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
from typing import Any, Dict, Generator, Iterator, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_engine import EngineError, Work
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_places import Command, command
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_stream import BLOCK, TAIL, StreamError, run

TIMEOUT = 30.0
#: Letters of a name that the server takes.
NAME_LETTERS = 64
#: What our sessions rely on. A dump's texts and ours are written with backslashes.
PREAMBLE = (
    "SET NAMES utf8mb4; SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,STRICT_ALL_TABLES'; SET SESSION time_zone = '+00:00'; "
    # Nothing of the server's settings ends what is ours: it takes as long as it takes.
    "SET SESSION wait_timeout = 2147483, SESSION net_read_timeout = 86400, SESSION net_write_timeout = 86400 "
    "/*M!100101 , SESSION max_statement_time = 0 */;\n"
)

_CODES: Sequence[Tuple[str, str]] = (
    (r"\(28000\)|\(42000\)[^:]*: (?:Access denied|\w+ command denied)|Access denied|command denied|ERROR 1698|ERROR 1044", "denied"),
    (r"No space left|Disk full|The table '.*' is full", "space"),
    (
        r"Can't connect|Lost connection|server has gone away|Unknown MySQL server host|is not installed|no answer within|Got error: 20\d\d",
        "unreachable",
    ),
)


def quote(name: str) -> str:
    """An identifier as SQL has it."""
    return "`%s`" % name.replace("`", "``")


def literal(text: str) -> str:
    """A text as SQL has it."""
    return "'%s'" % text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\0", "\\0")


def qualified(schema: str, name: str) -> str:
    """A table as SQL has it."""
    return "%s.%s" % (quote(schema), quote(name))


def fitted(base: str, suffix: str) -> str:
    """``base`` and ``suffix`` as one name that the server takes; what is cut is told apart by its sum."""
    if len(base + suffix) <= NAME_LETTERS:
        return base + suffix
    import zlib

    mark = "_%08x" % (zlib.crc32(base.encode()) & 0xFFFFFFFF)
    return base[: NAME_LETTERS - len(mark + suffix)] + mark + suffix


def code_of(text: str) -> str:
    """The code of an :class:`EngineError` from what a program said."""
    for pattern, code in _CODES:
        if re.search(pattern, text):
            return code
    return "failed"


_ESCAPED = {"n": "\n", "t": "\t", "0": "\0", "\\": "\\"}


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: _ESCAPED.get(found.group(1), found.group(1)), text)


class Client:
    """A server as a backup's options name it."""

    def __init__(self, spec: Mapping[str, Any], work: Work) -> None:
        self.spec, self.work = spec, work
        self.timeout = float(spec.get("timeout") or TIMEOUT)
        self._programs: Dict[str, Tuple[str, str]] = {}

    @property
    def local(self) -> bool:
        """Whether the server's files are on this host, as far as its address tells."""
        return self.spec.get("host") in (None, "localhost", "127.0.0.1", "::1")

    def mask(self, text: str) -> str:
        """A message without the password."""
        password = self.spec.get("password")
        return text.replace(password, "***") if password else text

    def error(self, error: StreamError, code: Optional[str] = None) -> EngineError:
        """A program's failure as the engine's."""
        # Before what is wrong the client prints the statement: rows may be in it.
        said = error.said.rpartition("--------------")[2].strip()
        text = self.mask(str(StreamError(error.program, error.status, said)))
        return EngineError(code or code_of(text), text)

    def program(self, *names: str) -> Tuple[str, str]:
        """The first of the programs that is there, and what it tells of its version. EngineError."""
        if names[0] not in self._programs:
            problem: Optional[StreamError] = None
            for name in names:
                try:
                    told = run(command(name, "--version", user=self.spec.get("run_as")), self.work.place, timeout=self.timeout)
                    self._programs[names[0]] = (name, told.decode("utf-8", "replace").strip())
                    break
                except StreamError as error:
                    problem = problem or error
            else:
                raise EngineError("unreachable", "neither %s is installed" % " nor ".join(names)) from problem
        return self._programs[names[0]]

    def command(self, names: Sequence[str], *words: str) -> Command:
        """A program that connects to the server."""
        env = {}
        argv = [self.program(*names)[0]]
        if self.spec.get("user") or self.spec.get("password"):
            argv.append("--no-defaults")  # a my.cnf would come before what is given here
        if self.spec.get("password") is not None:
            env["MYSQL_PWD"] = str(self.spec["password"])
        for key, option in (("user", "--user="), ("host", "--host="), ("port", "--port="), ("socket", "--socket=")):
            if self.spec.get(key) is not None:
                argv.append(option + str(self.spec[key]))
        if self.spec.get("host") is not None:
            argv.append("--protocol=tcp")
        argv.append("--default-character-set=utf8mb4")
        return command(*argv, *words, env=env, user=self.spec.get("run_as"))

    def client(self, *words: str) -> Command:
        """The client for a script on its standard input; it ends at the first error."""
        return self.command(
            ("mariadb", "mysql"),
            "--batch",
            "--skip-column-names",
            "--max-allowed-packet=1G",
            "--connect-timeout=%d" % max(1, int(self.timeout)),
            *words,
        )

    def run(self, sql: str, database: Optional[str] = None, hurried: bool = True) -> str:
        """Run a script and return what it prints."""
        try:
            told = run(
                self.client(*_database(database)),
                self.work.place,
                (PREAMBLE + sql + "\n").encode("utf-8", "surrogateescape"),
                timeout=2 * self.timeout + 10 if hurried else None,
            )
        except StreamError as error:
            raise self.error(error) from None
        return told.decode("utf-8", "surrogateescape")

    def rows(self, query: str, database: Optional[str] = None, hurried: bool = True) -> List[List[str]]:
        """The rows of a query; NULL comes as that word."""
        return _rows(self.run(query + ";", database, hurried))

    @contextlib.contextmanager
    def session(self, database: Optional[str] = None) -> Iterator[Session]:
        """A client that stays open."""
        session = Session(self, database)
        try:
            session.ask(PREAMBLE.strip().rstrip(";"))
            session.ask("SET SESSION lock_wait_timeout = %d, SESSION innodb_lock_wait_timeout = %d" % (self.timeout, self.timeout))
            yield session
        finally:
            session.close()


def _database(name: Optional[str]) -> Tuple[str, ...]:
    return () if name is None else ("--database=" + name,)


def _rows(text: str) -> List[List[str]]:
    return [[_plain(cell) for cell in line.split("\t")] for line in text.split("\n") if line]


class Session:
    """A client that is kept open. The first error ends it, and what was not committed is not done."""

    def __init__(self, client: Client, database: Optional[str] = None) -> None:
        self._client = client
        self._mark = os.urandom(12).hex()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the session
        started = client.work.place.wrap(client.client("--unbuffered", *_database(database)), None)
        try:
            self._process = subprocess.Popen(
                started.argv, env=started.env, cwd=started.cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said
            )
        except OSError as error:
            self._said.close()
            raise EngineError("unreachable", "%s cannot be started: %s" % (started.argv[0], error.strerror)) from None

    def send(self, data: bytes) -> None:
        """Write to the client. EngineError when it is gone."""
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
        self.send(("SELECT '%s';\n" % self._mark).encode())
        try:
            self._process.stdin.flush()  # type: ignore[union-attr]  # it is a pipe
        except (OSError, ValueError):
            raise self._gone() from None
        lines: List[str] = []
        for line in self._process.stdout:  # type: ignore[union-attr]  # it is a pipe
            text = line.decode("utf-8", "surrogateescape").rstrip("\n")
            if text == self._mark:
                return "\n".join(lines)
            lines.append(text)
        raise self._gone()

    def rows(self, query: str) -> List[List[str]]:
        """The rows of a query."""
        return _rows(self.ask(query))

    def number(self, query: str) -> int:
        """The one number of a query."""
        return int(self.ask(query))

    def _gone(self) -> EngineError:
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
        try:
            status: Optional[int] = self._process.wait(5)
        except subprocess.TimeoutExpired:
            status = None
        with contextlib.suppress(ValueError):
            self._said.seek(0)
            said = " ".join(self._said.read()[-TAIL:].decode("utf-8", "replace").split())
            return self._client.error(StreamError("mysql", status, said), None if said else "unreachable")
        return EngineError("unreachable", "the session was closed")

    def close(self) -> None:
        """End the session."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError, ValueError):
                pipe.close()  # type: ignore[union-attr]  # it is a pipe
        self._said.close()


def output(client: Client, what: Command, size: int = BLOCK) -> Generator[bytes, None, None]:
    """What a program prints, in blocks. EngineError at its end when it failed; leaving it early ends the program."""
    started = client.work.place.wrap(what, client.work.limits)
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            started.argv, env=started.env, cwd=started.cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, bufsize=0
        )
        try:
            while True:
                block = process.stdout.read(size)  # type: ignore[union-attr]  # it is a pipe
                if not block:
                    break
                yield block
            if process.wait() != 0:
                said.seek(0)
                text = said.read()[-TAIL:].decode("utf-8", "replace").strip()
                raise client.error(StreamError(what.program, process.returncode, text))
        finally:
            process.stdout.close()  # type: ignore[union-attr]  # it is a pipe
            if process.poll() is None:
                process.kill()
            process.wait()
