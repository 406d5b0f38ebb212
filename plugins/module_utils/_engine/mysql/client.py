# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the MySQL engine talks to a server: by mariadb or mysql, no driver; passwords only in the environment."""

from __future__ import annotations

import contextlib
import re
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import Command, command
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.stream import StreamError, run

from .. import sql as engine_sql
from ..base import EngineError, Work

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


_OPTIONS = (
    ("user", "--user="),
    ("host", "--host="),
    ("port", "--port="),
    ("socket", "--socket="),
    ("ca_file", "--ssl-ca="),
    ("cert_file", "--ssl-cert="),
    ("key_file", "--ssl-key="),
)
_ESCAPED = {"n": "\n", "t": "\t", "0": "\0", "\\": "\\"}


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: _ESCAPED.get(found.group(1), found.group(1)), text)


def fitted(base: str, suffix: str) -> str:
    """``base`` and ``suffix`` as one name that the server takes."""
    return engine_sql.fitted(base, suffix, NAME_LETTERS, len)


def code_of(text: str) -> str:
    """The code of an EngineError from what a program said."""
    return engine_sql.code_of(text, _CODES)


class Client(engine_sql.Client):
    """A server as a backup's options name it."""

    CODES = _CODES

    def __init__(self, spec: Mapping[str, Any], work: Work) -> None:
        super().__init__(spec, work)
        self._programs: Dict[str, Tuple[str, str]] = {}
        self._helps: Dict[str, str] = {}

    @property
    def local(self) -> bool:
        """Whether the server's files are on this host, as far as its address tells."""
        return self.spec.get("host") in (None, "localhost", "127.0.0.1", "::1")

    def bare(self, said: str) -> str:
        """Without the statement, which the client prints before what is wrong with it: rows may be in it."""
        return said.rpartition("--------------")[2].strip()

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
        if any(self.spec.get(key) for key in ("user", "password", "ca_file")):
            argv.append("--no-defaults")  # a my.cnf would come before what is given here
        if self.spec.get("password") is not None:
            env["MYSQL_PWD"] = str(self.spec["password"])
        for key, option in _OPTIONS:
            if self.spec.get(key) is not None:
                argv.append(option + str(self.spec[key]))
        if self.spec.get("host") is not None:
            argv.append("--protocol=tcp")
        if self.spec.get("ca_file"):
            # A client that is not to check the name goes on without TLS where the server has none.
            argv.append("--ssl-verify-server-cert" if "MariaDB" in self.program(*names)[1] else "--ssl-mode=VERIFY_IDENTITY")
        argv.append("--default-character-set=utf8mb4")
        return command(*argv, *words, env=env, user=self.spec.get("run_as"))

    def client(self, *words: str) -> Command:
        """The client for a script on its standard input; it ends at the first error.

        It carries out no commands of its own but the one that sets the delimiter: what it reads may be somebody else's dump.
        """
        return self.command(
            ("mariadb", "mysql"),
            "--batch",
            "--binary-mode",
            *self._sandbox(),
            "--skip-column-names",
            "--max-allowed-packet=1G",
            "--connect-timeout=%d" % max(1, int(self.timeout)),
            *words,
        )

    def _sandbox(self) -> Sequence[str]:
        """The option that keeps the client from files and programs, where it knows one (MariaDB from 10.5.25, 10.11.8, 11.4 on)."""
        name = self.program("mariadb", "mysql")[0]
        if name not in self._helps:
            try:
                told = run(command(name, "--help", user=self.spec.get("run_as")), self.work.place, timeout=self.patience(True))
            except StreamError as error:
                raise self.error(error) from None
            self._helps[name] = told.decode("utf-8", "replace")
        return ("--sandbox",) if re.search(r"^\s+--sandbox\b", self._helps[name], re.MULTILINE) else ()

    def run(self, sql: str, database: Optional[str] = None, hurried: bool = True) -> str:
        """Run a script and return what it prints."""
        try:
            told = run(
                self.client(*_database(database)),
                self.work.place,
                (PREAMBLE + sql + "\n").encode("utf-8", "surrogateescape"),
                timeout=self.patience(hurried),
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
        session = Session(self, self.client("--unbuffered", *_database(database)))
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


class Session(engine_sql.Session):
    """A client that is kept open. The first error ends it, and what was not committed is not done."""

    def answer(self) -> str:
        """What was printed since the last answer, when all that was sent is done."""
        lines: List[str] = []
        for text in self._lines("SELECT '%s';\n" % self._mark):
            if text == self._mark:
                break
            lines.append(text)
        return "\n".join(lines)

    def rows(self, query: str) -> List[List[str]]:
        """The rows of a query."""
        return _rows(self.ask(query))
