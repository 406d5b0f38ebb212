# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: S608 - names and texts go into SQL by quote() and literal() alone
"""Restore of tables into a MySQL or MariaDB database that goes on otherwise.

They are replaced in **one** InnoDB transaction, with their present rows kept in the schema set aside: renaming them would take
foreign keys of other tables along. Keys are not enforced meanwhile, so nothing cascades, and looked through before the end.
"""

from __future__ import annotations

from typing import Collection, Dict, List, Mapping, Sequence, Tuple

from ..artifact import Artifact
from ..base import EngineError, Request, Stored, Work
from .client import Client, Session, literal, qualified, quote
from .dump_reader import Piece
from .load import base_tables, count, load, preflight, trigger_table, versioned_tables
from .restore_database import NOTES, BesideRestorer
from .scratch import create_schema, drop_schema

_ROWS = ("set", "table", "sequence", "setval", "rows", "keys", "lock")
#: What a trigger was made under.
_CONTEXT = ("sql_mode", "character_set_client", "collation_connection")


class TablesRestorer(BesideRestorer):
    """Some tables of a database; those that are gone are made again."""

    def __init__(
        self, client: Client, artifact: Artifact, stored: Stored, request: Request, work: Work, target: str, names: Sequence[str]
    ) -> None:
        super().__init__(client, artifact, stored, request, work, target)
        self.names = list(dict.fromkeys(names))

    def check(self) -> None:
        """Also whether the database is there, and its tables know transactions."""
        super().check()
        if self.target not in self._schemas():
            raise EngineError("unreachable", "there is no database %s that the tables could go to" % self.target)
        self._check_engines(self.target)

    def needs(self) -> List[Tuple[str, int]]:
        """Also space for the present rows set aside and the new ones written, before the old ones are let go."""
        told = self.client.rows(
            "SELECT IFNULL(SUM(data_length + index_length), 0) FROM information_schema.tables "
            "WHERE table_schema = %s AND table_name IN (%s)" % (literal(self.target), ", ".join(literal(name) for name in self.names))
        )
        return [(path, needed + 2 * int(float(told[0][0]))) for path, needed in super().needs()]

    def _check_engines(self, schema: str) -> None:
        for name, engine in base_tables(self.client, schema).items():
            if name in self.names and engine.lower() not in ("innodb", "rocksdb"):
                raise EngineError("failed", "%s is of engine %s, which knows no transactions: restore the whole database" % (name, engine))
        for name in sorted(versioned_tables(self.client, schema) & set(self.names)):
            raise EngineError("failed", "%s keeps its history (system versioning), which would change: restore the whole database" % name)

    def stage(self) -> Mapping[str, int]:
        """The wanted tables with their rows and triggers."""
        drop_schema(self.client, self.new)
        preflight(self.client, self.artifact)
        create_schema(self.client, self.new, self.artifact.source)
        load(self.client, self.new, self.artifact, self.stored, self.work, lambda piece: piece.kind in _ROWS and self._wanted(piece))
        missing = sorted(set(self.names) - set(base_tables(self.client, self.new)))
        if missing:
            raise EngineError("failed", "holds no table %s" % missing[0])
        self._check_engines(self.new)
        return count(self.client, self.new, self.names)

    def _wanted(self, piece: Piece) -> bool:
        return piece.kind in ("set", "lock") or piece.name in self.names

    def swap(self) -> None:
        """All rows in one transaction; before it, tables that are gone are made, and triggers stand aside."""
        with self._alone() as session:
            phases = self._phases()
            if "done" in phases:
                return
            if self.new not in self._schemas():
                raise EngineError("failed", "%s was not staged" % self.new)
            counted = count(self.client, self.new, self.names)
            if "swapping" not in phases:
                self._prepare(session)
            made = set(self._noted("made"))
            here = base_tables(self.client, self.target)
            if made - set(here):
                kinds = ("set", "table")
                load(
                    self.client, self.target, self.artifact, self.stored, self.work,
                    lambda piece: piece.kind == "set" or (piece.kind in kinds and piece.name in made and piece.name not in here),
                )  # fmt: skip
            self._drop_triggers(session)
            if "rows" not in phases:
                self._replace(session, made, counted)
            self._make_triggers(made)
            self._note(session, "phase", "done")

    def _prepare(self, session: Session) -> None:
        """Write down what is needed for the way back, before anything is changed."""
        here = base_tables(self.client, self.target)
        self._keep(session, self.artifact.source)
        for name in self.names:
            if name in here:
                session.ask("CREATE TABLE %s LIKE %s" % (qualified(self.kept, name), qualified(self.target, name)))
            else:
                self._note(session, "made", name)
        for name in self._triggers():
            self._save_trigger(session, name)
        self._note(session, "phase", "swapping")

    def _triggers(self) -> List[str]:
        rows = self.client.rows(
            "SELECT trigger_name, event_object_table FROM information_schema.triggers WHERE trigger_schema = %s "
            "ORDER BY event_object_table, event_manipulation, action_timing, action_order" % literal(self.target)
        )
        return [row[0] for row in rows if row[1] in self.names]

    def _save_trigger(self, session: Session, name: str) -> None:
        row = self.client.rows("SHOW CREATE TRIGGER %s" % qualified(self.target, name))[0]
        mode, statement, charset, collation = row[1:5]
        told = ["SET SESSION %s = %s;" % (key, literal(value)) for key, value in zip(_CONTEXT, (mode, charset, collation))]
        self._note(session, "trigger", "\n".join([*told, "DELIMITER ;;", statement + ";;", "DELIMITER ;\n"]))

    def _drop_triggers(self, session: Session) -> None:
        for name in self._triggers():
            session.ask("DROP TRIGGER IF EXISTS %s" % qualified(self.target, name))

    def _make_triggers(self, made: Collection[str]) -> None:
        """Those that stood aside, and those of the tables that were made."""
        told = self._noted("trigger")
        if told:
            self.client.run("\n".join(told), self.target)
        if made:
            load(
                self.client, self.target, self.artifact, self.stored, self.work,
                lambda piece: piece.kind == "set" or (piece.kind == "trigger" and trigger_table(piece.data) in made),
            )  # fmt: skip

    def _replace(self, session: Session, made: Collection[str], counted: Mapping[str, int]) -> None:
        _begin(session)
        for name in self.names:
            staged = self._columns(self.new, name)
            mine = self._columns(self.target, name)
            strange = [column for column in staged if column not in mine]
            if strange:
                raise EngineError("differs", "%s has no column %s any more" % (name, ", ".join(strange)))
            table = qualified(self.target, name)
            if name not in made:
                listed = ", ".join(quote(column) for column in mine)
                session.ask("INSERT INTO %s (%s) SELECT %s FROM %s" % (qualified(self.kept, name), listed, listed, table))
                session.ask("DELETE FROM %s" % table)
            listed = ", ".join(quote(column) for column in staged)
            session.ask("INSERT INTO %s (%s) SELECT %s FROM %s" % (table, listed, listed, qualified(self.new, name)))
        self._check_keys(session)
        for name in self.names:
            found = session.number("SELECT COUNT(*) FROM %s" % qualified(self.target, name))
            if found != counted["rows." + name]:
                raise EngineError("differs", "%s has %d rows, %d were staged" % (name, found, counted["rows." + name]))
        self._note(session, "phase", "rows")
        session.ask("COMMIT")

    def _columns(self, schema: str, table: str) -> List[str]:
        rows = self.client.rows(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s "
            "AND IFNULL(generation_expression, '') = '' ORDER BY ordinal_position" % (literal(schema), literal(table))
        )
        return [row[0] for row in rows]

    def _check_keys(self, session: Session) -> None:
        """Every foreign key from or to the tables, row by row. EngineError when one leads nowhere."""
        names = ", ".join(literal(name) for name in self.names)
        rows = self.client.rows(
            "SELECT constraint_schema, constraint_name, table_schema, table_name, referenced_table_schema, referenced_table_name, "
            "column_name, referenced_column_name FROM information_schema.key_column_usage WHERE referenced_table_name IS NOT NULL "
            "AND ((table_schema = %s AND table_name IN (%s)) OR (referenced_table_schema = %s AND referenced_table_name IN (%s))) "
            "ORDER BY 1, 2, 4, ordinal_position" % (literal(self.target), names, literal(self.target), names)
        )
        keys: Dict[Tuple[str, ...], List[Tuple[str, str]]] = {}
        for row in rows:
            if self.new not in (row[2], row[4]) and self.kept not in (row[2], row[4]):
                keys.setdefault(tuple(row[:6]), []).append((row[6], row[7]))
        for (_schema, key, schema, table, other, parent), columns in keys.items():
            given = " AND ".join("c.%s IS NOT NULL" % quote(mine) for mine, _other in columns)
            same = " AND ".join("p.%s = c.%s" % (quote(other_column), quote(mine)) for mine, other_column in columns)
            query = "SELECT COUNT(*) FROM %s c WHERE %s AND NOT EXISTS (SELECT 1 FROM %s p WHERE %s)"
            lost = session.number(query % (qualified(schema, table), given, qualified(other, parent), same))
            if lost:
                raise EngineError(
                    "differs", "%d rows of %s would refer to rows of %s that are not there (foreign key %s)" % (lost, table, parent, key)
                )

    def unswap(self) -> None:
        """The rows set aside come back in one transaction; tables that were made go."""
        with self._alone() as session:
            if self.kept not in self._schemas():
                return
            phases = self._phases()
            if "swapping" not in phases:
                self._drop_kept(set(self.names))
                return
            made = set(self._noted("made"))
            self._drop_triggers(session)
            if "rows" in phases:
                _begin(session)
                for name in self.names:
                    if name not in made:
                        listed = ", ".join(quote(column) for column in self._columns(self.kept, name))
                        session.ask("DELETE FROM %s" % qualified(self.target, name))
                        session.ask(
                            "INSERT INTO %s (%s) SELECT %s FROM %s"
                            % (qualified(self.target, name), listed, listed, qualified(self.kept, name))
                        )
                        session.ask("DELETE FROM %s" % qualified(self.kept, name))
                session.ask("DELETE FROM %s WHERE kind = 'phase' AND value IN ('rows', 'done')" % qualified(self.kept, NOTES))
                session.ask("COMMIT")
            session.ask("SET SESSION foreign_key_checks = 0")
            for name in sorted(made):
                session.ask("DROP TABLE IF EXISTS %s" % qualified(self.target, name))
            self._make_triggers(())
            self._drop_kept(set(self.names))

    def finish(self) -> None:
        """Statistics of the tables."""
        self._analyze(self.names)

    def count(self) -> Mapping[str, int]:
        """Rows of the tables in place."""
        return count(self.client, self.target, self.names)


def _begin(session: Session) -> None:
    """A transaction that locks each row that it copies: what another client wrote meanwhile would be deleted, and not be aside."""
    session.ask("SET SESSION foreign_key_checks = 0")
    session.ask("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    session.ask("START TRANSACTION")
