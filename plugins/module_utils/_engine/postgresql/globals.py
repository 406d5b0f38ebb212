# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: S608 - names and texts go into SQL by quote() and literal() alone
"""Roles and tablespaces of a PostgreSQL server, as pg_dumpall writes them.

A restore makes the roles that are missing, in one transaction, and never changes one that is there. Until the restore is
confirmed each role it made is told by its comment, so that another process can take them away again.
"""

from __future__ import annotations

import contextlib
import re
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream

from ..artifact import Artifact
from ..base import Dump, EngineError, Request, Restorer, Stored, Told, Work
from ..sql import opened_artifact
from .client import Client, literal, quote
from .scratch import SCRATCH_ROLE

_END = "-- PostgreSQL database cluster dump complete"
_NAME = r'("(?:[^"]|"")*"|[^\s;"]+)'
_TOKEN = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|;|[^'\";]+|.", re.DOTALL)
_ABOUT = re.compile(r"(CREATE ROLE|ALTER ROLE|COMMENT ON ROLE) " + _NAME)
_GRANT = re.compile(r"GRANT " + _NAME + " TO " + _NAME)
_SPACE = re.compile(r"CREATE TABLESPACE " + _NAME + r" OWNER " + _NAME + r" LOCATION ")


def statements(text: str) -> List[str]:
    """The statements of a script without their semicolons, comments and commands of psql left out."""
    found: List[str] = []
    current = ""
    lines: List[str] = []
    for line in text.splitlines(True):
        if not (lines and _open_text("".join(lines[-50:]))) and line.startswith(("--", "\\")):
            continue
        lines.append(line)
    for piece in _TOKEN.findall("".join(lines)):
        if piece == ";":
            if current.strip():
                found.append(current.strip())
            current = ""
        else:
            current += piece
    if current.strip():
        raise EngineError("damaged", "the dump of the globals ends in the middle of a statement")
    return found


def _open_text(text: str) -> bool:
    """Whether a text ends inside quotes."""
    return any(piece in ("'", '"') for piece in _TOKEN.findall(text))


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


class Globals(NamedTuple):
    """What a dump of globals holds. ``roles``: statements about each role, in order; ``grants``: role, member, statement;
    ``tablespaces``: statement by name."""

    roles: Mapping[str, List[str]]
    grants: List[Tuple[str, str, str]]
    tablespaces: Mapping[str, str]

    @property
    def counts(self) -> Dict[str, int]:
        """By the names of the manifest."""
        return {"roles": len(self.roles), "tablespaces": len(self.tablespaces)}


def parse(text: str) -> Globals:
    """Read a dump of globals. EngineError when it is not whole."""
    if _END not in text[-1000:]:
        raise EngineError("damaged", "the dump of the globals has no end")
    roles: Dict[str, List[str]] = {}
    grants: List[Tuple[str, str, str]] = []
    spaces: Dict[str, str] = {}
    for statement in statements(text):
        about, grant, space = _ABOUT.match(statement), _GRANT.match(statement), _SPACE.match(statement)
        if about:
            roles.setdefault(_plain(about.group(2)), []).append(statement)
        elif grant:
            grants.append((_plain(grant.group(1)), _plain(grant.group(2)), statement))
        elif space:
            spaces[_plain(space.group(1))] = statement
    return Globals(roles, grants, spaces)


@contextlib.contextmanager
def globals_dump(client: Client) -> Iterator[Dump]:
    """The dump of a server's globals; passwords, which are hashes, only where it will be encrypted."""
    database = client.maintenance()
    blocks: List[bytes] = []
    words = ["--globals-only", "-l", database]
    if not client.work.encrypted:
        words.append("--no-role-passwords")
    server = client.run(database, "SHOW server_version").split()[0]
    version = client.tool_version("pg_dumpall")
    source = {"content": "globals", "passwords": client.work.encrypted}

    def finish() -> Told:
        found = parse(b"".join(blocks).decode("utf-8", "surrogateescape"))
        return Told(found.counts, {}, source, "pg_dumpall", version, server)

    yield Dump(client.command("pg_dumpall", *words), finish, blocks.append)


def read_globals(artifact: Artifact, stored: Stored, work: Work) -> Tuple[Dict[str, int], Globals]:
    """Counts and content of an artifact, read to its end. EngineError."""
    blocks: List[bytes] = []
    with opened_artifact(artifact, stored, work) as file:
        while True:
            block = file.read(stream.BLOCK)
            if not block:
                break
            blocks.append(block)
    found = parse(b"".join(blocks).decode("utf-8", "surrogateescape"))
    return found.counts, found


def count_globals(client: Client) -> Dict[str, int]:
    """Roles and tablespaces of a server."""
    row = client.rows(
        client.maintenance(),
        "SELECT (SELECT count(*) FROM pg_roles WHERE rolname !~ '^pg_' AND rolname <> %s) AS roles, "
        "(SELECT count(*) FROM pg_tablespace WHERE spcname !~ '^pg_') AS tablespaces" % literal(SCRATCH_ROLE),
    )[0]
    return {"roles": int(row["roles"]), "tablespaces": int(row["tablespaces"])}


def load_globals(client: Client, artifact: Artifact, stored: Stored, work: Work) -> None:
    """Make all of an artifact on an empty server; its tablespaces in the server's own folder."""
    _counts, found = read_globals(artifact, stored, work)
    told = [statement for about in found.roles.values() for statement in about] + [grant for _role, _member, grant in found.grants]
    client.run(client.maintenance(), "BEGIN;\n%s;\nCOMMIT" % ";\n".join(told or ["SELECT 1"]), hurried=False)
    for name, statement in found.tablespaces.items():
        owner = _SPACE.match(statement)
        client.run(
            client.maintenance(),
            "SET allow_in_place_tablespaces = on;\nCREATE TABLESPACE %s OWNER %s LOCATION ''"
            % (quote(name), owner.group(2) if owner else ""),
        )


class GlobalsRestorer(Restorer):
    """Roles that are missing."""

    def __init__(self, client: Client, artifact: Artifact, stored: Stored, request: Request, work: Work) -> None:
        self.client, self.artifact, self.stored, self.work = client, artifact, stored, work
        self.mark = "opsrunner restore %s" % request.ident
        self.maintenance = client.maintenance()
        self._read: Optional[Globals] = None

    @property
    def content(self) -> Globals:
        """What the artifact holds."""
        if self._read is None:
            self._read = read_globals(self.artifact, self.stored, self.work)[1]
        return self._read

    def _there(self) -> Dict[str, Optional[str]]:
        """Roles with their comments."""
        rows = self.client.rows(self.maintenance, "SELECT rolname AS name, shobj_description(oid, 'pg_authid') AS comment FROM pg_roles")
        return {row["name"]: row["comment"] for row in rows}

    def _spaces(self) -> List[str]:
        return [row["name"] for row in self.client.rows(self.maintenance, "SELECT spcname AS name FROM pg_tablespace")]

    def check(self) -> None:
        """Whether roles may be made; tablespaces are folders that only people can choose."""
        may = self.client.rows(self.maintenance, "SELECT rolsuper OR rolcreaterole AS may FROM pg_roles WHERE rolname = current_user")
        if not may[0]["may"]:
            raise EngineError("denied", "the user may not create roles")
        missing = sorted(set(self.content.tablespaces) - set(self._spaces()))
        if missing:
            raise EngineError(
                "failed", "the server has not the tablespace %s: make it first, in a folder of this host" % ", ".join(missing)
            )

    def stage(self) -> Mapping[str, int]:
        """Nothing is made beside: the artifact is read to its end."""
        return self.content.counts

    def swap(self) -> None:
        """Make the missing roles in one transaction."""
        there = self._there()
        missing = [name for name in self.content.roles if name not in there]
        same = [name for name in self.content.roles if name in there and not (there[name] or "").startswith(self.mark)]
        if same:
            self.work.warn("roles that are there are left as they are: %s" % ", ".join(sorted(same)))
        if not missing:
            return
        told: List[str] = []
        for name in missing:
            told += self.content.roles[name]
        told += [grant for role, member, grant in self.content.grants if role in missing or member in missing]
        for name in missing:
            kept = "coalesce(E'\\n' || shobj_description((SELECT oid FROM pg_roles WHERE rolname = %s), 'pg_authid'), '')" % literal(name)
            text = "%s || %s" % (literal(self.mark), kept)
            told.append("DO $do$ BEGIN EXECUTE format('COMMENT ON ROLE %%I IS %%L', %s, %s); END $do$" % (literal(name), text))
        self.client.run(self.maintenance, "BEGIN;\n%s;\nCOMMIT" % ";\n".join(told))

    def _made(self) -> Dict[str, str]:
        return {name: comment for name, comment in self._there().items() if comment and comment.split("\n")[0] == self.mark}

    def unswap(self) -> None:
        """Drop the roles that were made."""
        made = sorted(self._made())
        if made:
            self.client.run(self.maintenance, "BEGIN;\n%s;\nCOMMIT" % ";\n".join("DROP ROLE %s" % quote(name) for name in made))

    def count(self) -> Mapping[str, int]:
        """How many of the artifact's roles and tablespaces are there."""
        there, spaces = self._there(), self._spaces()
        return {
            "roles": sum(1 for name in self.content.roles if name in there),
            "tablespaces": sum(1 for name in self.content.tablespaces if name in spaces),
        }

    def unstage(self) -> None:
        """Nothing was staged."""

    def aside(self) -> List[str]:
        """Nothing is set aside: no role that was there is changed."""
        return []

    def discard(self) -> None:
        """Give the made roles their own comments."""
        told = []
        for name, comment in sorted(self._made().items()):
            own = comment.partition("\n")[2]
            told.append("COMMENT ON ROLE %s IS %s" % (quote(name), literal(own) if own else "NULL"))
        if told:
            self.client.run(self.maintenance, "BEGIN;\n%s;\nCOMMIT" % ";\n".join(told))
