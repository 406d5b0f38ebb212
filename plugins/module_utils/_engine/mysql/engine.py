# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: S608 - names and texts go into SQL by quote() and literal() alone
"""MariaDB and MySQL: mariadb-dump or mysqldump in a single transaction, counted as it goes by.

The dump's snapshot cannot be shared, so what is counted is the stream itself, row by row; it is whole only when its last line
is there. A sample is a digest of the first rows of a table as the dump has them, made again in a drill.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import Any, Dict, Iterator, List, Mapping, Optional, Set

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import readers as read
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, nearest
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream

from .. import sql as engine_sql
from ..artifact import Artifact
from ..base import Drilled, Dump, Engine, EngineError, Found, Request, Restorer, Stored, Told, Work
from .client import Client, literal, qualified
from .dump_reader import SAMPLE, DumpReader
from .load import DUMPERS, base_tables, count, load, tables_dump, versioned_tables
from .restore_database import DatabaseRestorer
from .restore_tables import TablesRestorer
from .scratch import DRILL, rights, scratch_schema, scratch_server

CONTENTS = ("whole", "schema", "tables")
_SAMPLED_TABLES = 20


class MysqlEngine(Engine):
    """See the module."""

    name = "mysql"
    ending = ".sql"
    readers: Mapping[str, read.Reader] = {
        **engine_sql.READERS,
        "socket": read.absolute,
        "content": read.choice(*CONTENTS),
        "tables": read.texts,
    }
    required = ("database",)

    def parse(self, item: Mapping[str, Any], path: str) -> Dict[str, Any]:
        """What of the database, and by which way it is reached."""
        found = engine_sql.parse(item, path)
        if found.get("socket") and found.get("host"):
            raise OptionError(path + ".socket", "does not go with host: it is one way or the other")
        if found["database"].lower() in ("mysql", "information_schema", "performance_schema", "sys"):
            raise OptionError(path + ".database", "%s is the server's own and not restored" % found["database"])
        if found.get("tables"):
            found["tables"] = tuple(found["tables"])
        return found

    def reach(self, spec: Mapping[str, Any], work: Work) -> None:
        """Whether the server lets us in and has the database. EngineError."""
        if not Client(spec, work).rows("SELECT 1 FROM information_schema.schemata WHERE schema_name = %s" % literal(spec["database"])):
            raise _no_database(spec["database"])

    @contextlib.contextmanager
    def dump(self, spec: Mapping[str, Any], work: Work) -> Iterator[Dump]:
        """The database in one transaction."""
        client = Client(spec, work)
        database, content = spec["database"], spec.get("content") or "whole"
        schemas = client.rows(
            "SELECT default_character_set_name, default_collation_name, @@version, "
            "(SELECT IFNULL(SUM(data_length + index_length), 0) FROM information_schema.tables WHERE table_schema = %s) "
            "FROM information_schema.schemata WHERE schema_name = %s" % (literal(database), literal(database))
        )
        if not schemas:
            raise _no_database(database)
        charset, collation, server, size = schemas[0]
        there = base_tables(client, database)
        wanted = spec.get("tables") or ()
        for name in wanted:
            if name not in there:
                near = nearest(name, there)
                raise EngineError("failed", "there is no table %s%s" % (name, "; did you mean %s?" % near if near else ""))
        for name, engine in sorted(there.items()):
            if engine.lower() not in ("innodb", "sequence", "rocksdb", "null") and (not wanted or name in wanted):
                work.warn(
                    "%s is of engine %s: it is not part of the snapshot, its rows are those of the moment it is read" % (name, engine)
                )
        for name in sorted(versioned_tables(client, database)):
            if not wanted or name in wanted:
                work.warn("%s keeps its history (system versioning): the dump has its present rows alone" % name)
        reader = DumpReader()
        source = {"content": content, "database": database, "charset": charset, "collation": collation, "bytes": int(float(size))}
        if wanted:
            source["tables"] = list(wanted)
        words = ["--single-transaction", "--quick", "--hex-blob", "--triggers", "--order-by-primary", "--max-allowed-packet=1G"]
        words += ["--no-data"] if content == "schema" else []
        words += ["--routines", "--events"] if content != "tables" else []

        def finish() -> Told:
            reader.finish()
            now = _table_ids(client, database)
            before = set(numbers.values())
            for name, number in sorted(numbers.items()):
                # One that is new since then, as after TRUNCATE, the server refuses by itself to read in the snapshot.
                if now.get(name, number) != number and now[name] in before:
                    table = name.partition("/")[2]
                    raise EngineError("failed", "%s was replaced by another table meanwhile: the dump is not of one moment" % table)
            if reader.strange:
                raise EngineError(
                    "failed", "the dump has a statement that is not known, a restore could not be safe: %s" % reader.strange[0]
                )
            source["longest"] = reader.longest
            samples = reader.samples
            kept = sorted(samples, key=lambda name: (-reader.rows[name[5:]], name))[:_SAMPLED_TABLES]
            version = re.search(r"(?:Distrib|Ver|from) (\d[^\s,]*)", client.program(*DUMPERS)[1])
            return Told(
                reader.counts,
                {name: samples[name] for name in kept if name[5:] in keyed},
                source,
                client.program(*DUMPERS)[0],
                version.group(1) if version else None,
                server,
            )

        keyed, numbers = _with_key(client, database), _table_ids(client, database)

        def tap(block: bytes) -> None:
            reader.feed(block)

        yield Dump(tables_dump(client, words, database, wanted), finish, tap)

    def read_through(self, artifact: Artifact, stored: Stored, work: Work) -> None:
        """Read to the last line; nothing in it but a dump of one database, and as much as the manifest tells."""
        reader = _read(artifact, stored, work)
        if reader.strange:
            raise EngineError("unsafe", "holds what no dump of one database has: %s" % reader.strange[0])
        if artifact.counts:
            engine_sql.same(artifact.counts, reader.counts)

    def drill(self, spec: Optional[Mapping[str, Any]], artifact: Artifact, stored: Stored, work: Work) -> Drilled:
        """A server of its own; where the options say so, a schema of its own on the backup's server. Events are made, but never run."""
        if spec is None or engine_sql.drills_apart(spec):
            with scratch_server(artifact, work) as client:
                return _drill(client, artifact, stored, work)
        client = Client(spec, work)
        role, has_all = rights(client)
        engine_sql.refuse_all_rights(spec, role, has_all)
        return _drill(client, artifact, stored, work)

    @contextlib.contextmanager
    def restorer(self, spec: Mapping[str, Any], artifact: Artifact, stored: Stored, request: Request, work: Work) -> Iterator[Restorer]:
        """Whole databases are renamed table by table in one statement; single tables are replaced in one transaction."""
        client = Client(spec, work)
        if not re.match(r"[A-Za-z0-9_]{1,24}\Z", request.ident):
            raise EngineError("failed", "%r cannot be part of a name" % request.ident)
        content = artifact.source.get("content", "whole")
        target = request.target or spec["database"]
        if content == "schema" and (request.part or request.target in (None, artifact.source.get("database"), spec["database"])):
            raise EngineError("failed", "holds the schema alone, no rows: it is not restored over data; name another database as target")
        part = request.part or (tuple(artifact.source.get("tables") or ()) if content == "tables" else ())
        for name in part:
            if artifact.counts and "rows." + name not in artifact.counts:
                near = nearest(name, [known[5:] for known in artifact.counts if known.startswith("rows.")])
                raise EngineError("failed", "holds no rows of %s%s" % (name, "; did you mean %s?" % near if near else ""))
        if part:
            yield TablesRestorer(client, artifact, stored, request, work, target, part)
        else:
            yield DatabaseRestorer(client, artifact, stored, request, work, target)

    def integrity(self, spec: Mapping[str, Any], work: Work) -> Found:
        """CHECK TABLE for each table, and all rows counted."""
        client = Client(spec, work)
        problems: List[str] = []
        counted: Dict[str, int] = {}
        database = spec["database"]
        if not client.rows("SELECT 1 FROM information_schema.schemata WHERE schema_name = %s" % literal(database)):
            return Found(False, ["there is no database %s" % database])
        for name in sorted(base_tables(client, database)):
            try:
                told = client.rows("CHECK TABLE %s" % qualified(database, name), hurried=False)
                said = [row[3] for row in told if row[2].lower() in ("error", "warning") or (row[2] == "status" and row[3] != "OK")]
                if told[-1][2:] == ["status", "OK"]:  # such as that it was not closed, which the check has mended
                    for text in said:
                        work.warn("%s: %s" % (name, text))
                else:
                    problems += ["%s: %s" % (name, text) for text in said]
            except EngineError as error:
                if error.code == "unreachable":
                    with contextlib.suppress(EngineError):
                        client.run("SELECT 1;")
                        problems.append("%s: the server went away over it" % name)
                        continue
                raise
        if not problems:
            counted = count(client, database)
        last = client.rows(
            "SELECT IFNULL(UNIX_TIMESTAMP(MAX(update_time)), '') FROM information_schema.tables WHERE table_schema = %s" % literal(database)
        )
        when = float(last[0][0]) if last and last[0] and last[0][0] else None
        return Found(not problems, problems, counted, when)

    def salvage(self, spec: Mapping[str, Any], folder: str, work: Work) -> List[str]:
        """Each table that can be dumped, as a file of its own."""
        client = Client(spec, work)
        saved = []
        for at, name in enumerate(sorted(base_tables(client, spec["database"]))):
            file = "%04d-%s.sql.zst" % (at, re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:80])
            try:
                words = ["--single-transaction", "--quick", "--hex-blob", "--skip-triggers"]
                stream.write(
                    tables_dump(client, words, spec["database"], (name,)), os.path.join(folder, file), limits=work.limits, place=work.place
                )
                saved.append(file)
            except stream.StreamError as error:
                with contextlib.suppress(OSError):
                    os.rename(os.path.join(folder, file), os.path.join(folder, file + ".incomplete"))
                    saved.append(file + ".incomplete")
                work.warn("%s: %s" % (name, client.error(error)))
        return saved


def _no_database(name: str) -> EngineError:
    return EngineError("unreachable", "there is no database %s, or it may not be seen" % name)


def _table_ids(client: Client, database: str) -> Dict[str, str]:
    """The server's own numbers of tables, where they can be had: a table that took another's name has another one."""
    if not re.match(r"[A-Za-z0-9_]+\Z", database):  # others are written in letters of their own
        return {}
    for table in ("innodb_sys_tables", "innodb_tables"):
        query = "SELECT name, table_id FROM information_schema.%s WHERE name LIKE %s"
        with contextlib.suppress(EngineError):
            return dict(client.rows(query % (table, literal(database.replace("_", "\\_") + "/%"))))
    return {}


def _drill(client: Client, artifact: Artifact, stored: Stored, work: Work) -> Drilled:
    if str(artifact.source.get("database", "")).startswith(DRILL):
        raise EngineError("same", "the drill's schema and the source's are one")
    with scratch_schema(client, artifact, work) as schema:
        load(client, schema, artifact, stored, work, sleeping=True)
        return Drilled(count(client, schema), _samples(client, schema, artifact))


def _read(artifact: Artifact, stored: Stored, work: Work) -> DumpReader:
    reader = DumpReader()
    with engine_sql.opened_artifact(artifact, stored, work) as file:
        while True:
            block = file.read(stream.BLOCK)
            if not block:
                break
            reader.feed(block)
    reader.finish()
    return reader


def _with_key(client: Client, database: str) -> Set[str]:
    """Tables with a primary key: their rows come in the same order again."""
    rows = client.rows(
        "SELECT DISTINCT table_name FROM information_schema.statistics WHERE table_schema = %s AND index_name = 'PRIMARY'"
        % literal(database)
    )
    return {row[0] for row in rows}


def _samples(client: Client, schema: str, artifact: Artifact) -> Dict[str, str]:
    """The digests of the artifact's samples, made again from the scratch schema."""
    found: Dict[str, str] = {}
    words = [
        "--single-transaction",
        "--quick",
        "--hex-blob",
        "--skip-triggers",
        "--no-create-info",
        "--order-by-primary",
        "--max-allowed-packet=1G",
    ]
    for name in artifact.samples:
        reader = DumpReader()
        blocks = client.output(tables_dump(client, words, schema, (name[5:],)), size=1 << 16)
        seen = 0
        with contextlib.closing(blocks):
            for block in blocks:
                reader.feed(block)
                seen += len(block)
                if seen > 2 * SAMPLE + (1 << 16):
                    break
        found.update(reader.samples)
    return found
