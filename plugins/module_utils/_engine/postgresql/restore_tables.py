# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: S608 - names and texts go into SQL by quote() and literal() alone
"""Restore of tables into a PostgreSQL database that goes on otherwise.

They are loaded into a database of another name, and then copied over in **one** transaction of the live database, which also
keeps their present rows in a schema ``opsrunner_aside_<ident>``: whatever is not restored stays as it is, also what is written
after the swap. Foreign keys from and to them are taken away and made again in that transaction, so the server checks every row.
"""

from __future__ import annotations

import contextlib
import itertools
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import nearest

from ..artifact import Artifact
from ..base import EngineError, Request, Stored, Work
from . import facts
from .client import Client, Session, literal, qualified, quote, shown, split_name
from .restore_database import BesideRestorer


def expand(part: Sequence[str], artifact: Artifact) -> List[Tuple[str, str]]:
    """Names of tables as they were asked for. EngineError when the artifact cannot have the rows of one."""
    names = []
    for text in part:
        try:
            names.append(split_name(text))
        except ValueError:
            raise EngineError("failed", "%r is no table" % text) from None
    if artifact.source.get("content") == "tables":
        there = {split_name(text) for text in artifact.source.get("tables") or ()}
        there |= {split_name(name[5:]) for name in artifact.counts if name.startswith("rows.")}
        for name in names:
            if name not in there:
                raise EngineError(
                    "failed", "holds no rows of %s; it has %s" % (shown(*name), ", ".join(sorted(shown(*it) for it in there)))
                )
    return names


class _Table(NamedTuple):
    """A table to be replaced. ``oids``: itself and its partitions; ``leaves``: those of them with rows."""

    schema: str
    name: str
    oid: int
    kind: str
    oids: Tuple[int, ...]
    leaves: Tuple[Tuple[str, str], ...]

    @property
    def sql(self) -> str:
        return qualified(self.schema, self.name)

    @property
    def only(self) -> str:
        """The table in FROM: without those that inherit from it, unless they are its partitions."""
        return self.sql if self.kind == "p" else "ONLY " + self.sql


def _tables(session: Session, names: Iterable[Tuple[str, str]]) -> Tuple[List[_Table], List[Tuple[str, str]]]:
    """The tables that are there, and the names of those that are not."""
    there = {(relation.schema, relation.name): relation for relation in facts.relations(session) if relation.kind in "rp"}
    found: List[_Table] = []
    missing: List[Tuple[str, str]] = []
    for name in names:
        if name not in there:
            missing.append(name)
            continue
        relation = there[name]
        leaves = facts.with_partitions(session, relation.oid)
        oids = session.rows(
            "WITH RECURSIVE below AS (SELECT %d::oid AS oid UNION SELECT i.inhrelid FROM pg_inherits i JOIN below b ON b.oid = i.inhparent "
            "JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relispartition) "
            "SELECT b.oid::int8 AS oid, c.relname AS name, c.relkind::text AS kind FROM below b JOIN pg_class c ON c.oid = b.oid"
            % relation.oid
        )
        for row in oids:
            if row["kind"] == "f":
                raise EngineError("failed", "%s has the partition %s, whose rows another server keeps" % (relation.shown, row["name"]))
        found.append(_Table(name[0], name[1], relation.oid, relation.kind, tuple(row["oid"] for row in oids), tuple(leaves)))
    return found, missing


def _key_list(oids: Iterable[int]) -> str:
    return ", ".join(str(oid) for oid in oids) or "0"


_FOREIGN = (
    "SELECT n.nspname AS schema, c.relname AS name, k.conname AS key, pg_get_constraintdef(k.oid) AS def, "
    "obj_description(k.oid, 'pg_constraint') AS comment, k.conrelid::int8 AS table, k.confrelid::int8 AS other "
    "FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE k.contype = 'f' AND k.conparentid = 0 AND (%s) ORDER BY 1, 2, 3"
)


@contextlib.contextmanager
def _loose(session: Session, tables: Sequence[_Table]) -> Iterator[None]:
    """Without foreign keys, triggers and rules on the tables; the keys are made again, and so checked, at the end of the block."""
    oids = _key_list(oid for table in tables for oid in table.oids)
    keys = session.rows(_FOREIGN % "k.conrelid IN (%s) OR k.confrelid IN (%s)" % (oids, oids))
    reactions = session.rows(
        "SELECT n.nspname AS schema, c.relname AS name, r.* FROM ("
        "SELECT 'TRIGGER' AS what, tgrelid AS oid, tgname AS reaction, tgenabled::text AS state FROM pg_trigger "
        "WHERE NOT tgisinternal UNION ALL "
        "SELECT 'RULE', ev_class, rulename, ev_enabled::text FROM pg_rewrite WHERE rulename <> '_RETURN') r "
        "JOIN pg_class c ON c.oid = r.oid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE r.state <> 'D' AND r.oid IN (%s) ORDER BY 1, 2, what, reaction" % oids
    )
    for found in reactions:
        name = qualified(found["schema"], found["name"])
        session.ask("ALTER TABLE ONLY %s DISABLE %s %s" % (name, found["what"], quote(found["reaction"])))
    for key in keys:
        session.ask("ALTER TABLE %s DROP CONSTRAINT %s" % (qualified(key["schema"], key["name"]), quote(key["key"])))
    yield
    for key in keys:
        name = qualified(key["schema"], key["name"])
        session.ask("ALTER TABLE %s ADD CONSTRAINT %s %s" % (name, quote(key["key"]), key["def"]))
        if key["comment"] is not None:
            session.ask("COMMENT ON CONSTRAINT %s ON %s IS %s" % (quote(key["key"]), name, literal(key["comment"])))
    for found in reactions:
        how = {"R": "REPLICA ", "A": "ALWAYS "}.get(found["state"], "")
        name = qualified(found["schema"], found["name"])
        session.ask("ALTER TABLE ONLY %s ENABLE %s%s %s" % (name, how, found["what"], quote(found["reaction"])))


class TablesRestorer(BesideRestorer):
    """Some tables of a database; those that are gone are made again."""

    def __init__(
        self,
        client: Client,
        artifact: Artifact,
        stored: Stored,
        request: Request,
        work: Work,
        target: str,
        names: Sequence[Tuple[str, str]],
    ) -> None:
        super().__init__(client, artifact, stored, request, work, target)
        self.names = list(dict.fromkeys(names))
        self.kept = "opsrunner_aside_" + request.ident

    def check(self) -> None:
        """Also whether the database that the tables go to is there."""
        super().check()
        if self.target not in self._databases():
            raise EngineError("unreachable", "there is no database %s that the tables could go to" % self.target)

    def needs(self) -> List[Tuple[str, int]]:
        """Also space for the present rows set aside and the new ones written, before the old ones are let go."""
        found = super().needs()
        with contextlib.suppress(EngineError), self.client.session(self.target) as session:
            oids = _key_list(oid for table in _tables(session, self.names)[0] for oid in table.oids)
            size = session.number("SELECT coalesce(sum(pg_table_size(oid)), 0) FROM pg_class WHERE oid IN (%s)" % oids)
            found = [(path, needed + 2 * size) for path, needed in found]
        return found

    def stage(self) -> Mapping[str, int]:
        """The whole artifact in a database of another name; the counts of the wanted tables there."""
        self._make_stage()
        with self.client.session(self.new) as session:
            found, missing = _tables(session, self.names)
            if missing:
                names = [relation.shown for relation in facts.relations(session) if relation.kind in "rp"]
                near = nearest(shown(*missing[0]), names)
                raise EngineError("failed", "holds no table %s%s" % (shown(*missing[0]), "; did you mean %s?" % near if near else ""))
            return _rows(session, found)

    def swap(self) -> None:
        """Everything in one transaction: it is done or it is not."""
        with self.client.session(self.new) as stage:
            wanted, _missing = _tables(stage, self.names)
            counted = _rows(stage, wanted)
            columns = {(table.schema, table.name): facts.columns(stage, table.oid) for table in wanted}
            ahead = _owned(stage, wanted)
            foreign = stage.rows(_FOREIGN % "k.confrelid IN (%s)" % _key_list(oid for table in wanted for oid in table.oids))
        by_name = {(table.schema, table.name): table for table in wanted}
        with self._alone(self.target) as session:
            if self._done(session):
                return
            session.ask("BEGIN")
            present, missing = _tables(session, self.names)
            session.ask("CREATE SCHEMA %s" % quote(self.kept))
            session.ask("CREATE TABLE %s (at int, schema text, name text, made boolean, columns text[])" % self._aside("parts"))
            if present:
                session.ask("LOCK TABLE %s IN ACCESS EXCLUSIVE MODE" % ", ".join(table.only for table in present))
            with _loose(session, present):
                for at, table in enumerate(present):
                    self._set_aside(session, at, table)
                    mine = facts.columns(session, table.oid)
                    strange = sorted(set(columns[table.schema, table.name]) - set(mine))
                    if strange:
                        raise EngineError("differs", "%s has no column %s any more" % (shown(table.schema, table.name), ", ".join(strange)))
                    self._copy(session, by_name[table.schema, table.name], table, columns[table.schema, table.name])
                if missing:
                    self._make(session, missing)
            for key in foreign:
                self._join(session, key, missing)
            for name, last in ahead.items():
                self._advance(session, name, last)
            now, _none = _tables(session, self.names)
            found = _rows(session, now)
            if found != counted:
                wrong = sorted(name for name in set(found) | set(counted) if found.get(name) != counted.get(name))
                raise EngineError(
                    "differs", "%s is not what was staged: %s, not %s" % (wrong[0], found.get(wrong[0]), counted.get(wrong[0]))
                )
            session.ask("COMMIT")

    def _aside(self, name: str) -> str:
        return qualified(self.kept, name)

    def _done(self, session: Session) -> bool:
        return session.number("SELECT count(*) FROM pg_namespace WHERE nspname = %s" % literal(self.kept)) == 1

    def _set_aside(self, session: Session, at: int, table: _Table) -> None:
        names = facts.columns(session, table.oid)
        listed = ", ".join(quote(name) for name in names)
        session.ask("CREATE TABLE %s AS SELECT %s FROM %s" % (self._aside("rows_%d" % at), listed, table.only))
        self._note(session, at, (table.schema, table.name), False, names)
        session.ask("TRUNCATE %s" % table.only)

    def _note(self, session: Session, at: int, name: Tuple[str, str], made: bool, columns: Sequence[str]) -> None:
        array = "ARRAY[%s]::text[]" % ", ".join(literal(column) for column in columns)
        values = (at, literal(name[0]), literal(name[1]), "true" if made else "false", array)
        session.ask("INSERT INTO %s VALUES (%d, %s, %s, %s, %s)" % ((self._aside("parts"), *values)))

    def _copy(self, session: Session, source: _Table, table: _Table, names: Sequence[str]) -> None:
        listed = ", ".join(quote(name) for name in names)
        rows = self.client.copy_out(self.new, "COPY (SELECT %s FROM %s) TO STDOUT" % (listed, source.only))
        into = "COPY %s%s FROM STDIN;\n" % (table.sql, " (%s)" % listed if names else "")
        session.pour(itertools.chain([into.encode("utf-8", "surrogateescape")], rows, [b"\\.\n"]))

    def _make(self, session: Session, missing: Sequence[Tuple[str, str]]) -> None:
        """Make tables that are gone, with their rows, indexes, keys, triggers and privileges, as the stage has them."""
        with self.client.session(self.new) as stage:
            found, _none = _tables(stage, missing)
        every = {(table.schema, table.name) for table in found}
        for table in found:
            every |= set(table.leaves)
        words = ["-t" + qualified(*name) for name in sorted(every)]
        session.pour(self.client.output(self.client.command("pg_dump", "--no-subscriptions", *words, database=self.new)))
        session.ask("SET search_path = pg_catalog")
        for at, name in enumerate(missing):
            self._note(session, 10000 + at, name, True, ())

    def _join(self, session: Session, key: Mapping[str, Any], missing: Sequence[Tuple[str, str]]) -> None:
        """A foreign key of another table that went away with a table that was made again."""
        there = session.rows(
            "SELECT (SELECT count(*) FROM pg_constraint k WHERE k.conrelid = c.oid AND k.conname = %s) AS keys FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s"
            % (literal(key["key"]), literal(key["schema"]), literal(key["name"]))
        )
        if there and not there[0]["keys"] and any(qualified(*name) in key["def"] or shown(*name) in key["def"] for name in missing):
            session.ask("ALTER TABLE %s ADD CONSTRAINT %s %s" % (qualified(key["schema"], key["name"]), quote(key["key"]), key["def"]))

    def _advance(self, session: Session, name: Tuple[str, str], last: Tuple[int, int]) -> None:
        """Let a sequence not give numbers again that the restored rows have."""
        row = session.rows(
            "SELECT last_value AS last FROM pg_sequences WHERE schemaname = %s AND sequencename = %s" % (literal(name[0]), literal(name[1]))
        )
        if row and (row[0]["last"] is None or (row[0]["last"] < last[0] if last[1] > 0 else row[0]["last"] > last[0])):
            session.ask("SELECT setval(%s::regclass, %d)" % (literal(qualified(*name)), last[0]))

    def unswap(self) -> None:
        """The rows set aside come back in one transaction; tables that were made go."""
        with self._alone(self.target) as session:
            if not self._done(session):
                return
            parts = session.rows("SELECT * FROM %s ORDER BY at" % self._aside("parts"))
            names = {(row["schema"], row["name"]): row for row in parts}
            session.ask("BEGIN")
            present, missing = _tables(session, names)
            gone = [name for name in missing if not names[name]["made"]]
            if gone:
                raise EngineError("failed", "%s is gone: its rows are in %s" % (shown(*gone[0]), self.kept))
            kept = [table for table in present if not names[table.schema, table.name]["made"]]
            made = [table for table in present if names[table.schema, table.name]["made"]]
            if present:
                session.ask("LOCK TABLE %s IN ACCESS EXCLUSIVE MODE" % ", ".join(table.only for table in present))
            for key in session.rows(_FOREIGN % "k.confrelid IN (%s)" % _key_list(oid for table in made for oid in table.oids)):
                session.ask("ALTER TABLE %s DROP CONSTRAINT %s" % (qualified(key["schema"], key["name"]), quote(key["key"])))
            for table in made:
                session.ask("DROP TABLE %s" % table.sql)
            with _loose(session, kept):
                for table in kept:
                    row = names[table.schema, table.name]
                    listed = ", ".join(quote(name) for name in row["columns"])
                    session.ask("TRUNCATE %s" % table.only)
                    if row["columns"]:
                        into = "INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM %s"
                        session.ask(into % (table.sql, listed, listed, self._aside("rows_%d" % row["at"])))
                    numbers = [session.number("SELECT count(*) FROM " + name) for name in (self._aside("rows_%d" % row["at"]), table.only)]
                    if numbers[0] != numbers[1]:
                        told = (shown(table.schema, table.name), numbers[1], numbers[0])
                        raise EngineError("differs", "%s would have %d rows, %d were set aside" % told)
            session.ask("DROP SCHEMA %s CASCADE" % quote(self.kept))
            session.ask("COMMIT")

    def finish(self) -> None:
        """Statistics of the tables."""
        with self.client.session(self.target) as session:
            found, _missing = _tables(session, self.names)
            for table in found:
                session.ask("ANALYZE %s" % table.sql)
            if any(relation.kind == "m" for relation in facts.relations(session)):
                self.work.warn("%s has materialized views: refresh those that show the restored tables" % self.target)

    def count(self) -> Mapping[str, int]:
        """Rows of the tables in place."""
        with self.client.session(self.target) as session:
            return _rows(session, _tables(session, self.names)[0])

    def aside(self) -> List[str]:
        """The schema with the rows set aside."""
        with self.client.session(self.target) as session:
            return ["schema %s in database %s" % (self.kept, self.target)] if self._done(session) else []

    def discard(self) -> None:
        """Drop the rows set aside."""
        with self.client.session(self.target) as session:
            if self._done(session):
                session.ask("DROP SCHEMA %s CASCADE" % quote(self.kept))


def _rows(session: Session, tables: Sequence[_Table]) -> Dict[str, int]:
    leaves = {leaf for table in tables for leaf in table.leaves}
    return dict(facts.counts(session, leaves, objects=False))


def _owned(session: Session, tables: Sequence[_Table]) -> Dict[Tuple[str, str], Tuple[int, int]]:
    """Last value and step of the sequences that fill the columns of the tables."""
    rows = session.rows(
        "SELECT n.nspname AS schema, c.relname AS name, q.last_value AS last, q.increment_by AS step FROM pg_depend d "
        "JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S' JOIN pg_namespace n ON n.oid = c.relnamespace "
        "JOIN pg_sequences q ON q.schemaname = n.nspname AND q.sequencename = c.relname "
        "WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjid IN (%s)"
        % _key_list(oid for table in tables for oid in table.oids)
    )
    return {(row["schema"], row["name"]): (row["last"], row["step"]) for row in rows if row["last"] is not None}
