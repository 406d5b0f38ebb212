# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: S608 - names and texts go into SQL by quote() and literal() alone
"""Dumps of the MySQL engine: made, counted, loaded into a schema under another name."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Callable, Collection, Dict, Iterable, Optional, Sequence, Set, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import HOST, Command

from ..artifact import Artifact
from ..base import EngineError, Stored, Work, from_program
from ..sql import opened_artifact
from .client import Client, Session, literal, qualified, quote
from .dump_reader import DumpReader, Piece

DUMPERS = ("mariadb-dump", "mysqldump")


def tables_dump(client: Client, words: Sequence[str], database: str, tables: Iterable[str] = ()) -> Command:
    """The dump of a database or some of its tables, which holds nothing that drops or locks what is there."""
    version = client.program(*DUMPERS)[1]
    more = ["--skip-add-drop-table", "--skip-add-locks", "--skip-lock-tables", "--no-tablespaces"]
    if "MariaDB" not in version:
        more.append("--set-gtid-purged=OFF")
        if not re.search(r"Ver 5\.|Distrib 5\.", version):
            more.append("--column-statistics=0")
    return client.command(DUMPERS, *more, *words, "--", database, *tables)


def base_tables(client: Client, schema: str) -> Dict[str, str]:
    """Tables and sequences of a schema with their engines."""
    rows = client.rows(
        "SELECT table_name, IF(table_type = 'SEQUENCE', 'SEQUENCE', IFNULL(engine, 'NULL')) FROM information_schema.tables "
        "WHERE table_schema = %s AND table_type IN ('BASE TABLE', 'SEQUENCE', 'SYSTEM VERSIONED')" % literal(schema)
    )
    return {row[0]: row[1] for row in rows}


def versioned_tables(client: Client, schema: str) -> Set[str]:
    """Tables that keep the rows of before, which are in no dump."""
    query = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s AND table_type = 'SYSTEM VERSIONED'"
    return {row[0] for row in client.rows(query % literal(schema))}


_OBJECTS = {
    "tables": "tables WHERE table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') AND table_schema",
    "sequences": "tables WHERE table_type = 'SEQUENCE' AND table_schema",
    "views": "tables WHERE table_type = 'VIEW' AND table_schema",
    "triggers": "triggers WHERE trigger_schema",
    "routines": "routines WHERE routine_schema",
    "events": "events WHERE NOT (on_completion = 'NOT PRESERVE' AND (event_type = 'ONE TIME' OR ends IS NOT NULL)) AND event_schema",
}


def count(client: Client, schema: str, only: Optional[Collection[str]] = None) -> Dict[str, int]:
    """Rows of each table, and how many there are of each kind; of ``only`` these tables, rows alone."""
    with client.session() as session:
        found: Dict[str, int] = {}
        if only is None:
            for name, where in _OBJECTS.items():
                found[name] = session.number("SELECT COUNT(*) FROM information_schema.%s = %s" % (where, literal(schema)))
        for name, engine in sorted(base_tables(client, schema).items()):
            if engine != "SEQUENCE" and (only is None or name in only):
                found["rows." + name] = session.number("SELECT COUNT(*) FROM %s" % qualified(schema, name))
        return found


# Loading


def preflight(client: Client, artifact: Artifact) -> None:
    """Whether the server can have what an artifact holds. EngineError."""
    server, packet = client.rows("SELECT @@version, @@max_allowed_packet")[0]
    wanted = artifact.server_version or ""
    if wanted and ("MariaDB" in wanted) != ("MariaDB" in server):
        client.work.warn("the dump is of %s, the server is %s: they are not the same kind" % (wanted, server))
    elif _version(wanted) > _version(server):
        raise EngineError(
            "version", "the server has version %s, the dump is of %s: it can only go to that or a newer one" % (server, wanted)
        )
    longest = int(artifact.source.get("longest") or 0)
    if longest + 1024 > int(packet):
        raise EngineError(
            "failed",
            "the dump has a statement of %d bytes, the server takes %s: raise its max_allowed_packet for the restore" % (longest, packet),
        )


def _version(text: str) -> Tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)


def data_folder(client: Client) -> Optional[str]:
    """The folder of the server's data if it is on this host."""
    if client.local and client.work.place is HOST:
        with contextlib.suppress(EngineError):
            folder = client.rows("SELECT @@datadir")[0][0]
            return folder if os.path.isdir(folder) else None
    return None


_ID = rb"(`(?:[^`]|``)*`|[^\s`.;(]+)"
_TRIGGER = re.compile(
    rb"(\bTRIGGER\s+(?:IF\s+NOT\s+EXISTS\s+)?)(?:"
    + _ID
    + rb"\s*\.\s*)?"
    + _ID
    + rb"(\s+(?:BEFORE|AFTER)\s.*?\bON\s*)(?:"
    + _ID
    + rb"\s*\.\s*)?"
    + _ID
    + rb"(?=\s*FOR\s+EACH\s+ROW\b)",
    re.IGNORECASE | re.DOTALL,
)


def _bare(name: bytes) -> str:
    text = name.decode("utf-8", "surrogateescape")
    return text[1:-1].replace("``", "`") if text.startswith("`") else text


def _here(piece: Piece, source: str, schema: str, asleep: bool) -> bytes:
    """A definition that stands in the schema it is loaded into: the dump may name the one that it was taken from."""
    if piece.kind == "database":
        return piece.data.replace(quote(piece.name).encode("utf-8", "surrogateescape"), quote(schema).encode("utf-8", "surrogateescape"))
    if piece.kind == "event" and asleep:
        data, number = re.subn(rb"(ON COMPLETION (?:NOT )?PRESERVE) ENABLE\b", rb"\1 DISABLE", piece.data, count=1)
        if not number and not re.search(rb"ON COMPLETION (?:NOT )?PRESERVE DISABLE", data):
            raise EngineError("unsafe", "holds an event that cannot be kept from running")
        return data
    if piece.kind == "trigger" and source.lower() != schema.lower():
        found = _TRIGGER.search(piece.data)
        if not found:
            raise EngineError("unsafe", "holds a trigger that cannot be read: %.200r" % piece.data)
        start, schemas, middle = found.group(1), (found.group(2), found.group(5)), found.group(4)
        for named in schemas:
            if named is not None and _bare(named).lower() != source.lower():
                raise EngineError("unsafe", "holds a trigger of the database %s" % _bare(named))
        head = start + found.group(3) + middle + found.group(6)
        return piece.data[: found.start()] + head + piece.data[found.end() :]
    return piece.data


def send(
    session: Session, blocks: Iterable[bytes], source: str, schema: str, kinds: Callable[[Piece], bool], asleep: bool = False
) -> DumpReader:
    """Run the wanted pieces of a dump in a schema. EngineError."""
    reader = DumpReader()
    session.send(b"USE %s;\n" % quote(schema).encode("utf-8", "surrogateescape"))
    for block in blocks:
        pieces = reader.feed(block)
        if reader.strange:  # before anything of this block is sent
            raise EngineError("unsafe", "holds what no dump of one database has: %s" % reader.strange[0])
        for piece in pieces:
            if piece.kind == "rows" and piece.name in reader.tables_elsewhere:
                raise EngineError("unsafe", "%s keeps its rows in another place, to which a restore would write" % piece.name)
            if piece.kind != "comment" and kinds(piece):
                session.send(_here(piece, source, schema, asleep))
    reader.finish()
    session.answer()
    return reader


def load(
    client: Client,
    schema: str,
    artifact: Artifact,
    stored: Stored,
    work: Work,
    kinds: Callable[[Piece], bool] = lambda _piece: True,
    sleeping: bool = False,
) -> DumpReader:
    """Load an artifact, or the pieces of it that ``kinds`` wants. ``sleeping``: events are made, and do not run. EngineError."""
    try:
        with opened_artifact(artifact, stored, work) as file, client.session() as session:
            blocks = iter(lambda: file.read(stream.BLOCK), b"")
            return send(session, blocks, str(artifact.source.get("database") or ""), schema, kinds, sleeping)
    except stream.StreamError as error:
        raise from_program(error, "damaged", client.mask(str(error))) from None


def trigger_table(text: bytes) -> str:
    """The table that a trigger is on."""
    found = _TRIGGER.search(text)
    return _bare(found.group(6)) if found else ""
