# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: S608 - names and texts go into SQL by quote() and literal() alone
"""PostgreSQL: pg_dump in its own format from an exported snapshot, in which rows are counted while it runs.

The artifact is not compressed by pg_dump (the stream's compressor is faster and sees it all). One with ``content: tables`` has
the whole schema and the rows of those tables alone, so that it can be restored and proved by itself; the foreign keys that lead
out of them are named in ``source`` and left out. It, and one with ``content: schema``, is never restored as a whole database.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, nearest
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream

from .. import sql as engine_sql
from ..artifact import Artifact
from ..base import Drilled, Dump, Engine, EngineError, Found, Request, Restorer, Stored, Told, Work
from . import facts
from .artifact import check_content
from .client import Client, Session, literal, qualified, quote, shown, split_name
from .globals import GlobalsRestorer, count_globals, globals_dump, load_globals, read_globals
from .restore_database import DatabaseRestorer
from .restore_tables import TablesRestorer, expand
from .scratch import load, rights, scratch_database, scratch_server, take

CONTENTS = ("whole", "schema", "tables", "globals")
_LOCKED_AT_ONCE = 500


def _table(value: Any, path: str) -> Tuple[str, ...]:
    found = read.texts(value, path)
    for at, name in enumerate(found):
        try:
            split_name(name)
        except ValueError:
            raise OptionError("%s[%d]" % (path, at), "%r is no table" % name, hint='schema.table or "a.schema"."a table"') from None
    return tuple(found)


class PostgresqlEngine(Engine):
    """See the module."""

    name = "postgresql"
    ending = ".dump"
    readers: Mapping[str, read.Reader] = {**engine_sql.READERS, "content": read.choice(*CONTENTS), "tables": _table}

    def parse(self, item: Mapping[str, Any], path: str) -> Dict[str, Any]:
        """Which database, and what of it."""
        found = engine_sql.parse(item, path)
        if found["content"] == "globals":
            for key in ("database", "tables"):
                if found.get(key):
                    raise OptionError("%s.%s" % (path, key), "does not go with content globals, which are the server's")
        elif not found.get("database"):
            raise OptionError(path + ".database", "is required and is missing")
        return found

    def reach(self, spec: Mapping[str, Any], work: Work) -> None:
        """Whether the server lets us into the database. EngineError."""
        client = Client(spec, work)
        if spec.get("database"):
            client.run(spec["database"], "SELECT 1")
        else:
            client.maintenance()

    def dump(self, spec: Mapping[str, Any], work: Work) -> contextlib.AbstractContextManager[Dump]:
        """The database as its own snapshot has it; the globals as they are now."""
        client = Client(spec, work)
        return globals_dump(client) if spec.get("content") == "globals" else _dump_database(client)

    def read_through(self, artifact: Artifact, stored: Stored, work: Work) -> None:
        """pg_restore turns all rows into a script, which is counted; the list of contents must have what the manifest tells."""
        if artifact.source.get("content") == "globals":
            engine_sql.same(artifact.counts, read_globals(artifact, stored, work)[0])
            return
        check_content(artifact, stored, work)

    def drill(self, spec: Optional[Mapping[str, Any]], artifact: Artifact, stored: Stored, work: Work) -> Drilled:
        """A server of its own; where the options say so, a database of its own on the backup's server."""
        if artifact.source.get("content") == "globals":
            with scratch_server(artifact, work) as client:
                load_globals(client, artifact, stored, work)
                return Drilled(count_globals(client))
        if spec is None or engine_sql.drills_apart(spec):
            with scratch_server(artifact, work) as client:
                return self._drill(client, artifact, stored, work, own=True)
        client = Client(spec, work)
        role, has_all = rights(client)
        engine_sql.refuse_all_rights(spec, role, has_all)
        return self._drill(client, artifact, stored, work, own=False)

    def _drill(self, client: Client, artifact: Artifact, stored: Stored, work: Work, own: bool) -> Drilled:
        with scratch_database(client, artifact, stored, work, own) as name:
            load(client, name, artifact, stored, work)
            with client.session(name) as session:
                counts, samples = take(session, artifact)
                late = facts.behind(artifact.source.get("sequences") or {}, facts.sequences(session))
            if late:
                raise EngineError("differs", "; ".join(late[:10]))
            return Drilled(counts, samples)

    @contextlib.contextmanager
    def restorer(self, spec: Mapping[str, Any], artifact: Artifact, stored: Stored, request: Request, work: Work) -> Iterator[Restorer]:
        """Whole databases are swapped by name; tables are replaced in one transaction of the live database."""
        client = Client(spec, work)
        content = artifact.source.get("content", "whole")
        if not re.match(r"[A-Za-z0-9_]{1,32}\Z", request.ident):
            raise EngineError("failed", "%r cannot be part of a name" % request.ident)
        if content == "globals":
            if request.part or request.target:
                raise EngineError("failed", "roles and tablespaces are restored whole and where they are from")
            yield GlobalsRestorer(client, artifact, stored, request, work)
            return
        source = artifact.source.get("database")
        target = request.target or spec.get("database") or source
        if not target:
            raise EngineError("failed", "no database is named to restore into")
        if content == "schema" and (request.target is None or request.target in (source, spec.get("database"))):
            raise EngineError("failed", "holds the schema alone, no rows: it is not restored over data; name another database as target")
        part = request.part or (tuple(artifact.source.get("tables") or ()) if content == "tables" else ())
        if part and content == "schema":
            raise EngineError("failed", "holds the schema alone, no rows of %s" % ", ".join(part))
        if part:
            names = expand(part, artifact)
            yield TablesRestorer(client, artifact, stored, request, work, target, names)
        else:
            yield DatabaseRestorer(client, artifact, stored, request, work, target)

    def integrity(self, spec: Mapping[str, Any], work: Work) -> Found:
        """Connects, reads every row of every table and, where amcheck is there, every B-tree index."""
        client = Client(spec, work)
        if spec.get("content") == "globals":
            return Found(True, counts=count_globals(client))
        there = client.rows(
            client.maintenance(), "SELECT datallowconn AS open FROM pg_database WHERE datname = %s" % literal(spec["database"])
        )
        if not there:
            return Found(False, ["there is no database %s" % spec["database"]])
        problems: List[str] = []
        counted: Dict[str, int] = {}
        with client.session(spec["database"]) as session:
            found = facts.relations(session)
            empty = {row["oid"] for row in session.rows("SELECT oid::int8 AS oid FROM pg_class WHERE relkind = 'm' AND NOT relispopulated")}
            unfinished = "SELECT indexrelid::regclass::text AS name FROM pg_index WHERE NOT indisvalid ORDER BY 1"
            for row in session.rows(unfinished):
                work.warn("the index %s is not valid and is in no dump: drop it or make it anew" % row["name"])
            for relation in found:
                if relation.kind in "rm" and relation.oid not in empty:
                    problems += _tried(session, relation.shown, "SELECT count(q::text) FROM (SELECT * FROM ONLY %s) q" % relation.sql)
            checker = _amcheck(session)
            if checker:
                for relation in found:
                    if relation.kind == "i":
                        problems += _tried(
                            session,
                            relation.shown,
                            "SELECT count(%s.bt_index_check(c.oid)) FROM pg_class c JOIN pg_am a ON a.oid = c.relam "
                            "WHERE c.oid = %d AND a.amname = 'btree'" % (quote(checker), relation.oid),
                        )
            else:
                work.warn("amcheck is not installed in %s: its indexes were not checked" % spec["database"])
            with contextlib.suppress(EngineError):
                broken = session.number(
                    "SELECT coalesce(sum(checksum_failures), 0) FROM pg_stat_database WHERE datname = current_database()"
                )
                if broken:
                    problems.append("%d pages failed their checksum" % broken)
            if not problems:
                counted = dict(facts.counts(session))
            last = None
            with contextlib.suppress(EngineError, ValueError):
                if session.ask("SHOW track_commit_timestamp") == "on":
                    last = float(session.ask("SELECT extract(epoch FROM timestamp) FROM pg_last_committed_xact()"))
        return Found(not problems, problems[:100], counted, last)

    def salvage(self, spec: Mapping[str, Any], folder: str, work: Work) -> List[str]:
        """Each table that can be read, as a file of its own with COPY text; the schema if pg_dump still can."""
        client = Client(spec, work)
        saved = []
        schema = client.command("pg_dump", "--schema-only", database=spec["database"])
        try:
            stream.write(schema, os.path.join(folder, "schema.sql.zst"), limits=work.limits, place=work.place)
            saved.append("schema.sql.zst")
        except stream.StreamError as error:
            work.warn("schema: %s" % client.error(error))
        with client.session(spec["database"]) as session:
            tables = [relation for relation in facts.relations(session) if relation.kind == "r"]
        for at, relation in enumerate(tables):
            file = "%04d-%s.copy.zst" % (at, re.sub(r"[^A-Za-z0-9_.-]", "_", relation.shown)[:80])
            try:
                rows = client.copy_out(spec["database"], "COPY %s TO STDOUT" % relation.sql)
                stream.write(rows, os.path.join(folder, file), limits=work.limits)
                saved.append(file)
            except (stream.StreamError, EngineError) as error:
                with contextlib.suppress(OSError):
                    os.rename(os.path.join(folder, file), os.path.join(folder, file + ".incomplete"))
                    saved.append(file + ".incomplete")
                work.warn("%s: %s" % (relation.shown, client.mask(str(error))))
        return saved


def _tried(session: Session, what: str, query: str) -> List[str]:
    try:
        session.ask(query)
    except EngineError as error:
        if error.code == "unreachable":
            raise
        return ["%s: %s" % (what, error)]
    return []


def _amcheck(session: Session) -> Optional[str]:
    found = session.rows(
        "SELECT n.nspname AS name FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'amcheck'"
    )
    return found[0]["name"] if found else None


# The dump of a database


class _Counting(threading.Thread):
    """Counts in the dump's snapshot while pg_dump runs."""

    def __init__(self, session: Session, content: str, chosen: Optional[Set[Tuple[str, str]]]) -> None:
        super().__init__(daemon=True)
        self._session, self._content, self._chosen = session, content, chosen
        self.counts: Dict[str, int] = {}
        self.samples: Dict[str, str] = {}
        self.problem: Optional[BaseException] = None

    def run(self) -> None:
        """Count, sample; what goes wrong is kept."""
        try:
            for name, number in facts.counts(self._session, self._chosen, rows=self._content != "schema"):
                self.counts[name] = number
            if self._content != "whole":
                self.counts["large_objects"] = 0
            if self._content != "schema":
                self.samples = facts.samples(self._session, only=self._chosen)
        except BaseException as error:  # noqa: BLE001 - raised where the dump is finished
            self.problem = error


def _snapshot(session: Session) -> str:
    """A snapshot whose tables are locked before it is taken: TRUNCATE and DROP respect no snapshot."""
    for last in (False, False, True):
        tables = [relation for relation in facts.relations(session) if relation.kind in "rp"]
        session.ask("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            for at in range(0, len(tables), _LOCKED_AT_ONCE):
                names = ", ".join("ONLY " + table.sql for table in tables[at : at + _LOCKED_AT_ONCE])
                session.ask("LOCK TABLE %s IN ACCESS SHARE MODE" % names)
            return session.ask("SELECT pg_export_snapshot()")
        except EngineError as error:
            if last or error.code == "unreachable" or "does not exist" not in str(error):
                raise
            session.ask("ROLLBACK")  # a table went away in between
    raise EngineError("failed", "tables come and go: no snapshot could be taken")


def _chosen(session: Session, wanted: Sequence[str]) -> Tuple[Set[Tuple[str, str]], List[List[str]]]:
    """The tables with rows that were asked for, and the foreign keys that lead out of them."""
    tables = {(relation.schema, relation.name): relation for relation in facts.relations(session) if relation.kind in "rp"}
    leaves: Set[Tuple[str, str]] = set()
    oids: Set[int] = set()
    for text in wanted:
        name = split_name(text)
        if name not in tables:
            near = nearest(shown(*name), [shown(*table) for table in tables])
            raise EngineError("failed", "there is no table %s%s" % (text, "; did you mean %s?" % near if near else ""))
        below = [name, *facts.with_partitions(session, tables[name].oid)]
        oids.update(tables[table].oid for table in below if table in tables)
        leaves.update(table for table in below if table in tables and tables[table].kind == "r")
    keys = session.rows(
        "SELECT n.nspname AS schema, c.relname AS name, k.conname AS key, k.conrelid::int8 AS table, k.confrelid::int8 AS other "
        "FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE k.contype = 'f'"
    )
    out = [[key["schema"], key["name"], key["key"]] for key in keys if key["table"] in oids and key["other"] not in oids]
    return leaves, sorted(out)


def _tell_secrets(client: Client, database: str) -> None:
    """Warn of passwords for other servers, which pg_dump writes down as they are."""
    with contextlib.suppress(EngineError):
        query = "SELECT srvname AS name FROM pg_user_mappings WHERE umoptions::text ILIKE '%passw%' ORDER BY 1 LIMIT 1"
        for row in client.rows(database, query):
            client.work.warn("the dump has the password of a user mapping of %s and is not encrypted" % row["name"])


@contextlib.contextmanager
def _dump_database(client: Client) -> Iterator[Dump]:
    spec = client.spec
    database, content = spec["database"], spec.get("content") or "whole"
    if not client.work.encrypted:
        _tell_secrets(client, database)
    with client.session(database) as session:
        snapshot = _snapshot(session)
        server = session.ask("SHOW server_version").split()[0]
        source: Dict[str, Any] = dict(content=content, **facts.database(session, database), **facts.contents(session))
        chosen: Optional[Set[Tuple[str, str]]] = None
        words = ["-Fc", "-Z0", "--snapshot=" + snapshot, "--lock-wait-timeout=%d" % (client.timeout * 1000)]
        if source["encoding"] == "SQL_ASCII":
            words.append("--encoding=SQL_ASCII")  # its bytes are of no encoding, and would be refused as another's
        if content == "schema":
            words.append("--schema-only")
        if content == "tables":
            chosen, source["open_keys"] = _chosen(session, spec["tables"])
            source["tables"] = list(spec["tables"])
            words.append("--no-blobs")
            tables = [(relation.schema, relation.name) for relation in facts.relations(session) if relation.kind == "r"]
            tables += facts.of_extensions(session)
            words += ["--exclude-table-data=" + qualified(*table) for table in tables if table not in chosen]
        if content != "schema":
            source["sequences"] = facts.sequences(session)
        version = client.tool_version("pg_dump")
        counting = _Counting(session, content, chosen)
        counting.start()

        def finish() -> Told:
            counting.join()
            if counting.problem is not None:
                raise counting.problem
            session.ask("SELECT 1")  # else the snapshot may have gone before its time
            return Told(counting.counts, counting.samples, source, "pg_dump", version, server)

        try:
            yield Dump(client.command("pg_dump", *words, database=database), finish)
        except stream.StreamError:
            counting.join(1)
            if counting.problem is not None:  # the snapshot went with it, which is all that pg_dump knows
                raise counting.problem from None
            raise
        finally:
            session.close()
            counting.join()
