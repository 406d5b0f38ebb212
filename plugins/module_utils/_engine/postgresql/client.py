# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: S608 - names and texts go into SQL by quote() and literal() alone
"""How the PostgreSQL engine talks to a server: by psql and its sisters, no driver; passwords only in the environment."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import Command, command
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.stream import StreamError, run

from .. import sql as engine_sql
from ..base import EngineError

#: Bytes of a name that the server keeps (NAMEDATALEN - 1).
NAME_BYTES = 63
#: What our own sessions rely on, whatever the server's, the database's or the role's settings are.
PREAMBLE = (
    "SET statement_timeout = 0; SET default_transaction_read_only = off; "
    "SET search_path = pg_catalog; SET standard_conforming_strings = on; SET client_encoding = 'UTF8'; "
    "SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET timezone = 'UTC'; SET extra_float_digits = 3; "
    "SET bytea_output = 'hex'; SET lc_monetary = 'C'; SET client_min_messages = warning; SET row_security = off;\n"
)
#: Nothing of these, which a role or a database may have, ends what is ours: it takes as long as it takes.
UNHURRIED = (
    "SELECT count(set_config(name, '0', false)) AS settings FROM pg_settings WHERE name IN "
    "('statement_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout')"
)
#: How each script of ours begins; what the query gives goes into a variable, not to the output.
_BEGINNING = PREAMBLE + UNHURRIED + " \\gset opsrunner_\n"

_CODES: Sequence[Tuple[str, str]] = (
    (r"No space left|could not extend file|disk full|Disk quota", "space"),
    (r"server version mismatch|unsupported version|aborting because of", "version"),
    (
        r"password authentication failed|no password supplied|no pg_hba\.conf entry|[Pp]eer authentication failed|"
        r"permission denied|must be owner|must be superuser|must have|is not permitted to",
        "denied",
    ),
    (
        r"could not connect|connection to server|Connection refused|server closed the connection|terminating connection|"
        r"could not translate host|does not exist, failed|not currently accepting connections|is starting up|is shutting down|"
        r"is not installed|no answer within",
        "unreachable",
    ),
)


def quote(name: str) -> str:
    """An identifier as SQL has it."""
    return '"%s"' % name.replace('"', '""')


def qualified(schema: str, name: str) -> str:
    """A relation as SQL has it."""
    return "%s.%s" % (quote(schema), quote(name))


def literal(text: str) -> str:
    """A text as SQL has it, with standard_conforming_strings on."""
    return "'%s'" % text.replace("'", "''")


def conninfo(database: str) -> str:
    """The argument of ``-d``: a name as it is could be taken for a connection string."""
    return "dbname='%s'" % database.replace("\\", "\\\\").replace("'", "\\'")


def shown(schema: str, name: str) -> str:
    """A relation as counts and options call it: quoted only where the dot would be in doubt."""
    return ".".join(quote(part) if "." in part or '"' in part else part for part in (schema, name))


def split_name(text: str) -> Tuple[str, str]:
    """Schema and name from ``schema.name``, ``name`` (of schema public) or ``"a.b"."c"``; letters keep their case."""
    parts = re.findall(r'"((?:[^"]|"")*)"|([^."]+)', text)
    names = [quoted.replace('""', '"') or plain for quoted, plain in parts]
    rebuilt = ".".join(quote(quoted.replace('""', '"')) if quoted else plain for quoted, plain in parts)
    if not names or len(names) > 2 or rebuilt != text:
        raise ValueError(text)
    return (names[0], names[1]) if len(names) == 2 else ("public", names[0])


_VARIABLES = (
    ("host", "PGHOST"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("ca_file", "PGSSLROOTCERT"),
    ("cert_file", "PGSSLCERT"),
    ("key_file", "PGSSLKEY"),
)
_TEXTS = re.compile(r"'(?:[^']|'')*'?")
_PASSWORD = re.compile(r"(?i)(passw\w*\W{1,3})'(?:[^']|'')*'?")


def fitted(base: str, suffix: str) -> str:
    """``base`` and ``suffix`` as one name that the server does not cut."""
    return engine_sql.fitted(base, suffix, NAME_BYTES, lambda name: len(name.encode("utf-8", "surrogateescape")))


def code_of(text: str) -> str:
    """The code of an EngineError from what a program said."""
    return engine_sql.code_of(text, _CODES)


class Client(engine_sql.Client):
    """A server as a backup's options name it."""

    CODES = _CODES

    @property
    def local(self) -> bool:
        """Whether the server's files are on this host, as far as its address tells."""
        host = self.spec.get("host")
        return host is None or host.startswith("/") or host in ("localhost", "127.0.0.1", "::1")

    def bare(self, said: str) -> str:
        """Without the texts of the statement that failed: a password may be one of them."""
        head, command_was, statement = said.partition("Command was:")
        return _PASSWORD.sub(r"\1'***'", head) + command_was + _TEXTS.sub("'***'", statement)

    def command(self, program: str, *words: str, database: Optional[str] = None) -> Command:
        """A program that connects to the server; it never asks for a password."""
        env = {"PGCONNECT_TIMEOUT": str(max(2, math.ceil(self.timeout))), "PGCLIENTENCODING": "UTF8", "PGAPPNAME": "opsrunner"}
        for key, variable in _VARIABLES:
            if self.spec.get(key) is not None:
                env[variable] = str(self.spec[key])
        if self.spec.get("ca_file"):
            env["PGSSLMODE"] = "verify-full"
        target = ("-d", conninfo(database)) if database is not None else ()
        return command(program, "-w", *target, *words, env=env, user=self.spec.get("run_as"))

    def psql(self, database: str, *words: str) -> Command:
        """psql for a script on its standard input."""
        return self.command("psql", "-X", "-q", "-A", "-t", *words, database=database)

    def run(self, database: str, sql: str, hurried: bool = True) -> str:
        """Run a script and return what it prints; the first error ends it. ``hurried``: within the timeout."""
        limit = "SET statement_timeout = %d; SET lock_timeout = %d;\n" % (self.timeout * 1000, self.timeout * 1000) if hurried else ""
        script = _BEGINNING + limit + sql.rstrip().rstrip(";") + ";\n"
        try:
            told = run(
                self.psql(database, "-v", "ON_ERROR_STOP=1"),
                self.work.place,
                script.encode("utf-8", "surrogateescape"),
                timeout=self.patience(hurried),
            )
        except StreamError as error:
            raise self.error(error) from None
        return told.decode("utf-8", "surrogateescape")

    def rows(self, database: str, query: str) -> List[Dict[str, Any]]:
        """The rows of a query."""
        return parsed(self.run(database, as_json(query)))

    @contextlib.contextmanager
    def session(self, database: str) -> Iterator[Session]:
        """A psql that stays open."""
        session = Session(self, self.psql(database))
        try:
            session.ask(PREAMBLE.rstrip().rstrip(";"))
            session.ask(UNHURRIED)
            session.ask("SET lock_timeout = %d" % (self.timeout * 1000))
            yield session
        finally:
            session.close()

    def maintenance(self, *avoid: str) -> str:
        """A database to connect to that is none of those worked on. EngineError when there is none."""
        problems: List[EngineError] = []
        for name in ("postgres", "template1"):
            if name not in avoid:
                try:
                    self.run(name, "SELECT 1")
                    return name
                except EngineError as error:
                    problems.append(error)
        raise problems[0]

    def tool_version(self, program: str) -> Optional[str]:
        """The version of a program where it runs."""
        try:
            told = run(command(program, "--version", user=self.spec.get("run_as")), self.work.place, timeout=self.timeout)
        except StreamError as error:
            raise self.error(error) from None
        found = re.search(rb"\) (\S+)", told)
        return found.group(1).decode() if found else None

    def copy_out(self, database: str, query: str) -> Iterator[bytes]:
        """What a COPY ... TO STDOUT gives, in blocks. EngineError at its end when it did not come to it."""
        return self.output(self.psql(database, "-v", "ON_ERROR_STOP=1"), (_BEGINNING + query + ";\n").encode("utf-8", "surrogateescape"))


def as_json(query: str) -> str:
    """A query whose rows come as one line of JSON."""
    return "SELECT coalesce(jsonb_agg(to_jsonb(q)), '[]')::text FROM (%s) q" % query.rstrip().rstrip(";")


def parsed(text: str) -> List[Dict[str, Any]]:
    """Rows from :func:`as_json`. EngineError when it is none."""
    try:
        found = json.loads(text)
    except ValueError:
        raise EngineError("failed", "psql answered with something else than rows: %.200r" % text) from None
    return list(found)


class Session(engine_sql.Session):
    """A psql that is kept open. An error ends a statement, not the session."""

    def pour(self, blocks: Iterable[bytes]) -> None:
        """Run a script, or a COPY with its rows. EngineError at the first error, which ends the session: rows of a COPY that
        did not begin would be taken for statements."""
        self.send(b"\\set ON_ERROR_STOP on\n")
        for block in blocks:
            self.send(block)
        self.send(b"\n\\set ON_ERROR_STOP off\n")
        self.answer()

    def answer(self) -> str:
        """What was printed since the last answer."""
        mark = self._mark
        lines: List[str] = []
        problem: Optional[int] = None
        told = "\\if :ERROR\n\\echo '%s' error\n\\echo :LAST_ERROR_MESSAGE\n\\echo '%s'\n\\else\n\\echo '%s'\n\\endif\n"
        for text in self._lines(told % (mark, mark, mark)):
            if text == mark and problem is None:
                break
            if text == mark:
                said = " ".join(lines[problem:])
                if "current transaction is aborted" in said:  # the first error says why
                    said = self._first_error() or said
                raise EngineError(self._client.code_of(said), self._client.mask(said))
            if text == mark + " error":
                problem = len(lines)
            else:
                lines.append(text)
        return "\n".join(lines)

    def rows(self, query: str) -> List[Dict[str, Any]]:
        """The rows of a query."""
        return parsed(self.ask(as_json(query)))

    def _first_error(self) -> str:
        self._said.seek(0)
        errors = re.findall(rb"ERROR:\s+(.*)", self._said.read(1 << 20))
        self._said.seek(0, os.SEEK_END)
        return errors[0].decode("utf-8", "replace") if errors else ""
