# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: S608 - names and texts go into SQL by quote() and literal() alone
"""Restore of a MySQL or MariaDB database as a whole.

A server cannot rename a schema. The database is loaded into one beside; the swap is **one** RENAME TABLE statement, which the
server does as a whole: present tables go to ``<db>_opsrunner_aside_<ident>``, staged ones come. Triggers hinder it, and views,
routines and events cannot be renamed: the present ones are written down in the schema set aside first, dropped, and made anew
from the artifact. A table ``opsrunner_stage`` moves with the statement and tells another process whether it was done.

A lock of the server keeps two processes apart, also one that was killed while its statement still runs.
"""

from __future__ import annotations

import contextlib
import json
import zlib
from typing import Iterable, Iterator, List, Mapping, Sequence, Set, Tuple

from ..artifact import Artifact
from ..base import EngineError, Request, Restorer, Stored, Work
from ..sql import space_needed
from .client import Client, Session, fitted, literal, qualified
from .dump_reader import DumpReader, Piece
from .load import base_tables, count, data_folder, load, preflight, send, tables_dump
from .scratch import create_schema, drop_schema

#: Tables of ours in the schema set aside.
NOTES, MARK = "opsrunner_restore", "opsrunner_stage"
_NOTE_COLUMNS = "at INT NOT NULL AUTO_INCREMENT PRIMARY KEY, kind VARCHAR(32) NOT NULL, value LONGTEXT CHARACTER SET utf8mb4 NOT NULL"
DEFINITIONS = ("set", "placeholder", "drop", "view", "trigger", "routine", "event", "database")


class BesideRestorer(Restorer):
    """What both ways of a restore have: a schema beside, one set aside, and how far the swap came."""

    def __init__(self, client: Client, artifact: Artifact, stored: Stored, request: Request, work: Work, target: str) -> None:
        self.client, self.artifact, self.stored, self.request, self.work, self.target = client, artifact, stored, request, work, target
        self.new = fitted(target, "_opsrunner_new_" + request.ident)
        self.kept = fitted(target, "_opsrunner_aside_" + request.ident)

    def needs(self) -> List[Tuple[str, int]]:
        """Space for a second copy, where the server's folder is on this host."""
        folder = data_folder(self.client)
        return [(folder, space_needed(self.artifact))] if folder else []

    def check(self) -> None:
        """Version, size of statements, keys of other databases."""
        if self.target.lower() in ("mysql", "information_schema", "performance_schema", "sys"):
            raise EngineError("failed", "%s is the server's own and not restored" % self.target)
        preflight(self.client, self.artifact)

    def _schemas(self) -> Set[str]:
        return {row[0] for row in self.client.rows("SELECT schema_name FROM information_schema.schemata")}

    @contextlib.contextmanager
    def _alone(self) -> Iterator[Session]:
        """A session that is the only one to work on the target; one that was killed ends its statement first."""
        with self.client.session() as session:
            name = "opsrunner_%08x" % (zlib.crc32(self.target.encode("utf-8", "surrogateescape")) & 0xFFFFFFFF)
            if session.ask("SELECT GET_LOCK(%s, %d)" % (literal(name), max(1, int(self.client.timeout)))) != "1":
                raise EngineError("failed", "another restore works on %s" % self.target)
            yield session

    def _phases(self) -> Set[str]:
        """How far the swap came, as it was noted in the schema set aside."""
        if self.kept not in self._schemas() or NOTES not in base_tables(self.client, self.kept):
            return set()
        return {row[0] for row in self.client.rows("SELECT value FROM %s WHERE kind = 'phase'" % qualified(self.kept, NOTES))}

    def _note(self, session: Session, kind: str, value: str) -> None:
        session.ask("INSERT INTO %s (kind, value) VALUES (%s, %s)" % (qualified(self.kept, NOTES), literal(kind), literal(value)))

    def _noted(self, kind: str) -> List[str]:
        query = "SELECT value FROM %s WHERE kind = %s ORDER BY at" % (qualified(self.kept, NOTES), literal(kind))
        return [row[0] for row in self.client.rows(query, hurried=False)]

    def _keep(self, session: Session, like: Mapping[str, object]) -> None:
        """Make the schema set aside anew; there is no data in it yet."""
        if self.kept in self._schemas():
            self._drop_kept(set(base_tables(self.client, self.kept)))
        create_schema(self.client, self.kept, like)
        session.ask("CREATE TABLE %s (%s) ENGINE=InnoDB" % (qualified(self.kept, NOTES), _NOTE_COLUMNS))

    def _drop_kept(self, empty: Set[str]) -> None:
        """Drop the schema set aside when it holds nothing but notes and ``empty``."""
        for name in base_tables(self.client, self.kept):
            if name != NOTES and (
                name not in empty or self.client.rows("SELECT 1 FROM %s LIMIT 1" % qualified(self.kept, name), hurried=False)
            ):
                raise EngineError("failed", "%s has data in %s: it is not dropped" % (self.kept, name))
        drop_schema(self.client, self.kept)

    def unstage(self) -> None:
        """Drop the schema beside."""
        drop_schema(self.client, self.new)

    def aside(self) -> List[str]:
        """The schema with what was set aside."""
        return ["database %s" % self.kept] if self.kept in self._schemas() else []

    def discard(self) -> None:
        """Drop what was set aside."""
        if self.kept in self._schemas():
            if "done" not in self._phases():
                raise EngineError("failed", "the restored data is not in place: %s is not dropped" % self.kept)
            drop_schema(self.client, self.kept)

    def _analyze(self, names: Iterable[str]) -> None:
        for name in names:
            self.client.run("ANALYZE NO_WRITE_TO_BINLOG TABLE %s;" % qualified(self.target, name), hurried=False)


def _save(session: Session, table: str, data: bytes) -> None:
    """Write definitions down, in pieces that any server takes."""
    import base64

    text = base64.b64encode(zlib.compress(data)).decode()
    for at in range(0, len(text), 1 << 19):
        session.ask("INSERT INTO %s (kind, value) VALUES ('script', %s)" % (table, literal(text[at : at + (1 << 19)])))


def _saved(session: Session, table: str) -> bytes:
    import base64

    text = "".join(row[0] for row in session.rows("SELECT value FROM %s WHERE kind = 'script' ORDER BY at" % table))
    return zlib.decompress(base64.b64decode(text)) if text else b""


class DatabaseRestorer(BesideRestorer):
    """A database as a whole."""

    def check(self) -> None:
        """Also whether its tables can be renamed."""
        super().check()
        others = self.client.rows(
            "SELECT constraint_schema, table_name FROM information_schema.referential_constraints "
            "WHERE unique_constraint_schema = %s AND constraint_schema NOT IN (%s, %s, %s)"
            % (literal(self.target), literal(self.target), literal(self.new), literal(self.kept))
        )
        if others:
            raise EngineError("failed", "%s.%s has a foreign key into %s, which a swap would break" % (*others[0], self.target))

    def _like(self) -> Mapping[str, object]:
        rows = self.client.rows(
            "SELECT default_character_set_name, default_collation_name FROM information_schema.schemata WHERE schema_name = %s"
            % literal(self.target)
        )
        return {"charset": rows[0][0], "collation": rows[0][1]} if rows else self.artifact.source

    def stage(self) -> Mapping[str, int]:
        """All of the artifact, views, triggers and routines too, so that it is proved that the server takes them."""
        if "swapping" in self._phases():
            raise EngineError("failed", "%s is in place already" % self.request.ident)
        drop_schema(self.client, self.new)
        preflight(self.client, self.artifact)
        create_schema(self.client, self.new, self._like())
        definitions: List[bytes] = []

        def noticed(piece: Piece) -> bool:
            if piece.kind in DEFINITIONS:
                definitions.append(piece.data)
            return True

        load(self.client, self.new, self.artifact, self.stored, self.work, noticed, sleeping=True)
        found = count(self.client, self.new)
        with self.client.session() as session:
            # With what the swap makes anew, so that it need not read the artifact while the services are down.
            session.ask("CREATE TABLE %s (%s) ENGINE=InnoDB" % (qualified(self.new, "opsrunner_staging"), _NOTE_COLUMNS))
            _save(session, qualified(self.new, "opsrunner_staging"), b"".join([*definitions, b"-- Dump completed\n"]))
            session.ask("RENAME TABLE %s TO %s" % (qualified(self.new, "opsrunner_staging"), qualified(self.new, MARK)))
        return found

    def swap(self) -> None:
        """Note, drop what hinders, rename in one statement, make the definitions."""
        with self._alone() as session:
            phases = self._phases()
            if "done" in phases:
                return
            if "swapping" not in phases:
                if self.new not in self._schemas() or MARK not in base_tables(self.client, self.new):
                    raise EngineError("failed", "%s was not staged" % self.new)
                self._keep(session, self._like())
                if self.target in self._schemas():
                    self._note(session, "existed", "yes")
                    _save(session, qualified(self.kept, NOTES), self._definitions(session))
                    for statement in self._grants():
                        self._note(session, "grant", statement)
                self._note(session, "phase", "swapping")
            if self.target not in self._schemas():
                create_schema(self.client, self.target, self.artifact.source)
            _drop_definitions(self.client, session, self.target)
            _drop_definitions(self.client, session, self.new)
            if MARK not in base_tables(self.client, self.kept):
                pairs = [((self.target, name), (self.kept, name)) for name in sorted(base_tables(self.client, self.target))]
                pairs += [
                    ((self.new, name), (self.kept if name == MARK else self.target, name))
                    for name in sorted(base_tables(self.client, self.new))
                ]
                _rename(session, pairs)
            self._make(_saved(session, qualified(self.kept, MARK)), str(self.artifact.source.get("database") or ""), asleep=True)
            self._note(session, "phase", "done")

    def _make(self, script: bytes, source: str, asleep: bool = False) -> None:
        """Make definitions in the target, and give the rights on routines again, which went with them."""
        with self.client.session() as session:
            send(session, [script], source, self.target, lambda piece: piece.kind in DEFINITIONS, asleep)
        there = self.client.rows(
            "SELECT routine_type, routine_name FROM information_schema.routines WHERE routine_schema = %s" % literal(self.target)
        )
        for statement in self._noted("grant"):
            if any(" ON %s %s TO " % (kind, qualified(self.target, name)) in statement for kind, name in there):
                try:
                    self.client.run(statement + ";")
                except EngineError as error:
                    self.work.warn("a right could not be given again: %s (%s)" % (statement, error))

    def _grants(self) -> List[str]:
        """The rights on single routines of the present database: dropping a routine takes them away."""
        try:
            rows = self.client.rows(
                "SELECT user, host, UPPER(routine_type), routine_name, UPPER(proc_priv) FROM mysql.procs_priv WHERE db = %s"
                % literal(self.target)
            )
        except EngineError as error:
            self.work.warn("rights on single routines cannot be seen, and would be lost: %s" % error)
            return []
        found = []
        for user, host, kind, name, rights in rows:
            given = [right for right in rights.split(",") if right != "GRANT"]
            whom = literal(user) + ("@" + literal(host) if host else "")  # a role of MariaDB has no host
            more = " WITH GRANT OPTION" if "GRANT" in rights.split(",") else ""
            found.append("GRANT %s ON %s %s TO %s%s" % (", ".join(given) or "USAGE", kind, qualified(self.target, name), whom, more))
        return found

    def _definitions(self, session: Session) -> bytes:
        """The dump of the present database without rows: its triggers, views, routines and events are made again from it."""
        words = ["--no-data", "--routines", "--events", "--triggers"]
        try:
            data = b"".join(self.client.output(tables_dump(self.client, words, self.target)))
        except EngineError:
            broken = self._broken_views()
            if not broken:
                raise
            for name in broken:
                words.append("--ignore-table=%s.%s" % (self.target, name))
                row = self.client.rows("SHOW CREATE VIEW %s" % qualified(self.target, name))[0]
                self._note(session, "broken", "%s;" % row[1])
            data = b"".join(self.client.output(tables_dump(self.client, words, self.target)))
        reader = DumpReader()
        reader.feed(data)
        reader.finish()
        if reader.strange:
            raise EngineError("failed", "a definition of %s cannot be kept: %s" % (self.target, reader.strange[0]))
        return data

    def _broken_views(self) -> List[str]:
        """Views of the present database that refer to what is not there any more."""
        found = []
        for row in self.client.rows("SELECT table_name FROM information_schema.views WHERE table_schema = %s" % literal(self.target)):
            try:
                self.client.run("SELECT 1 FROM %s LIMIT 0;" % qualified(self.target, row[0]))
            except EngineError as error:
                if error.code == "unreachable":
                    raise
                found.append(row[0])
        return found

    def unswap(self) -> None:
        """The same backwards."""
        with self._alone() as session:
            if self.kept not in self._schemas():
                return
            if "swapping" not in self._phases():
                self._drop_kept(set())
                return
            existed = bool(self._noted("existed"))
            script = _saved(session, qualified(self.kept, NOTES))
            if self.target in self._schemas():
                _drop_definitions(self.client, session, self.target)
                if MARK in base_tables(self.client, self.kept):
                    if self.new not in self._schemas():
                        create_schema(self.client, self.new, self._like())
                    pairs = [((self.target, name), (self.new, name)) for name in sorted(base_tables(self.client, self.target))]
                    kept = sorted(set(base_tables(self.client, self.kept)) - {NOTES})
                    pairs += [((self.kept, name), (self.new if name == MARK else self.target, name)) for name in kept]
                    _rename(session, pairs)
                if existed:
                    self._make(script, self.target)
                    for statement in self._noted("broken"):
                        try:
                            self.client.run(statement, self.target)
                        except EngineError as error:
                            self.work.warn("a view that was broken already cannot be made again (%s): %s" % (error, statement))
                elif not base_tables(self.client, self.target):
                    drop_schema(self.client, self.target)
            self._drop_kept(set())

    def finish(self) -> None:
        """Statistics; then events may run, which change rows: they are counted before."""
        self._analyze(name for name, engine in base_tables(self.client, self.target).items() if engine != "SEQUENCE")
        with self._alone() as session:
            if not self._counted():
                self._note(session, "counted", json.dumps(count(self.client, self.target)))
            script = _saved(session, qualified(self.kept, MARK))
        with self.client.session() as session:
            _drop_events(self.client, session, self.target)
            source = str(self.artifact.source.get("database") or "")
            send(session, [script], source, self.target, lambda piece: piece.kind in ("set", "event"))

    def _counted(self) -> Mapping[str, int]:
        """What was counted when no event had run yet."""
        told = self._noted("counted") if NOTES in base_tables(self.client, self.kept) else []
        return dict(json.loads(told[0])) if told else {}

    def count(self) -> Mapping[str, int]:
        """What was put in place."""
        return self._counted() or count(self.client, self.target)


def _rename(session: Session, pairs: Sequence[Tuple[Tuple[str, str], Tuple[str, str]]]) -> None:
    if pairs:
        session.ask("RENAME TABLE %s" % ", ".join("%s TO %s" % (qualified(*old), qualified(*new)) for old, new in pairs))


def _drop_events(client: Client, session: Session, schema: str) -> None:
    for row in client.rows("SELECT event_name FROM information_schema.events WHERE event_schema = %s" % literal(schema)):
        session.ask("DROP EVENT IF EXISTS %s" % qualified(schema, row[0]))


def _drop_definitions(client: Client, session: Session, schema: str) -> None:
    """Drop events, triggers, views and routines of a schema."""
    name = literal(schema)
    _drop_events(client, session, schema)
    for row in client.rows("SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = %s" % name):
        session.ask("DROP TRIGGER IF EXISTS %s" % qualified(schema, row[0]))
    for row in client.rows("SELECT table_name FROM information_schema.views WHERE table_schema = %s" % name):
        session.ask("DROP VIEW IF EXISTS %s" % qualified(schema, row[0]))
    for row in client.rows("SELECT routine_type, routine_name FROM information_schema.routines WHERE routine_schema = %s" % name):
        if row[0] in ("PROCEDURE", "FUNCTION", "PACKAGE", "PACKAGE BODY"):
            session.ask("DROP %s IF EXISTS %s" % (row[0], qualified(schema, row[1])))
