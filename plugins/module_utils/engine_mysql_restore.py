# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: S608 - names and texts go into SQL by quote() and literal() alone
"""The way back of the MySQL engine: dumps loaded into schemas of another name, swapped in.

A server cannot rename a schema. A whole database is loaded into one beside; the swap is **one** RENAME TABLE statement, which
the server does as a whole: present tables go to ``<db>_opsrunner_aside_<ident>``, staged ones come. Triggers hinder it, and views,
routines and events cannot be renamed: the present ones are written down in the schema set aside first, dropped, and made anew
from the artifact. A table ``opsrunner_stage`` moves with the statement and tells another process whether it was done.

Single tables are replaced in **one** InnoDB transaction, with their present rows kept in the schema set aside: renaming them would
take foreign keys of other tables along. Keys are not enforced meanwhile, so nothing cascades, and looked through before the end.

A lock of the server keeps two processes apart, also one that was killed while its statement still runs.
"""

from __future__ import annotations

import contextlib
import os
import re
import zlib
from typing import IO, Callable, Collection, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils import backup_stream as stream
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_engine import EngineError, Request, Restorer, Stored, Work
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_manifest import Artifact
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_places import HOST, Command, command
from ansible_collections.opsrunner.runbook.plugins.module_utils.engine_mysql_client import (
    Client,
    Session,
    fitted,
    literal,
    output,
    qualified,
    quote,
)
from ansible_collections.opsrunner.runbook.plugins.module_utils.engine_mysql_script import DumpReader, Piece

DUMPERS = ("mariadb-dump", "mysqldump")
#: Schemas of drills; one that nobody holds the lock of was left behind by a killed one.
DRILL = "opsrunner_drill_"
#: Tables of ours in the schema set aside.
NOTES, MARK = "opsrunner_restore", "opsrunner_stage"
_NOTE_COLUMNS = "at INT NOT NULL AUTO_INCREMENT PRIMARY KEY, kind VARCHAR(32) NOT NULL, value LONGTEXT CHARACTER SET utf8mb4 NOT NULL"
_ROWS = ("set", "table", "sequence", "setval", "rows", "keys", "lock")
_DEFINITIONS = ("set", "placeholder", "drop", "view", "trigger", "routine", "event", "database")
#: What a trigger was made under.
_CONTEXT = ("sql_mode", "character_set_client", "collation_connection")
_SPACE = 1.3
_SPACE_LEAST = 64 << 20


# Reading


def opened_artifact(artifact: Artifact, stored: Stored, work: Work) -> contextlib.AbstractContextManager[IO[bytes]]:
    """The raw stream of an artifact; its compression by the file's ending where the manifest does not tell."""
    name = stored.path[: -len(".age")] if stored.path.endswith(".age") else stored.path
    how = artifact.compression or {".zst": "zstd", ".gz": "gzip"}.get(os.path.splitext(name)[1], "none")
    return stream.read(stored.path, how, bool(artifact.encryption), stored.identity, work.limits)


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


def space_needed(artifact: Artifact) -> int:
    """Bytes that a restored copy takes."""
    return int((artifact.source.get("bytes") or artifact.size * 4) * _SPACE) + _SPACE_LEAST


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
        for piece in reader.feed(block):
            if piece.kind == "other":
                raise EngineError("unsafe", "holds what no dump of one database has: %s" % (reader.strange or ["?"])[0])
            if piece.kind == "rows" and piece.name in reader.tables_elsewhere:
                raise EngineError("unsafe", "%s keeps its rows in another place, to which a restore would write" % piece.name)
            if piece.kind != "comment" and kinds(piece):
                session.send(_here(piece, source, schema, asleep))
        if reader.strange:
            raise EngineError("unsafe", "holds what no dump of one database has: %s" % reader.strange[0])
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
        raise EngineError("damaged", client.mask(str(error))) from None


def create_schema(client: Client, name: str, like: Mapping[str, object]) -> None:
    """An empty schema."""
    words = "CREATE DATABASE %s" % quote(name)
    if like.get("charset"):
        words += " CHARACTER SET %s COLLATE %s" % (literal(str(like["charset"])), literal(str(like["collation"])))
    client.run(words + ";")


def drop_schema(client: Client, name: str) -> None:
    """Remove a schema of ours."""
    client.run("SET SESSION foreign_key_checks = 0; DROP DATABASE IF EXISTS %s;" % quote(name), hurried=False)


@contextlib.contextmanager
def scratch_schema(client: Client, artifact: Artifact, work: Work) -> Iterator[str]:
    """An empty schema for a drill, dropped afterwards; those that killed drills left are dropped first."""
    preflight(client, artifact)
    folder = data_folder(client)
    if folder:
        free = os.statvfs(folder)
        if free.f_bavail * free.f_frsize < space_needed(artifact):
            raise EngineError(
                "space", "%d bytes are free in %s, %d are needed" % (free.f_bavail * free.f_frsize, folder, space_needed(artifact))
            )
    name = DRILL + os.urandom(6).hex()
    with client.session() as holder:
        holder.ask("SELECT GET_LOCK(%s, 0)" % literal(name))
        for row in holder.rows(
            "SELECT schema_name FROM information_schema.schemata WHERE LEFT(schema_name, %d) = %s" % (len(DRILL), literal(DRILL))
        ):
            if row[0] != name and holder.ask("SELECT IS_FREE_LOCK(%s)" % literal(row[0])) == "1":
                work.warn("%s was left behind by a drill and is dropped" % row[0])
                drop_schema(client, row[0])
        if holder.rows("SELECT 1 FROM DUAL WHERE @@log_bin = 1"):
            work.warn("the server logs its changes: the drill goes to its replicas, too")
        try:
            create_schema(client, name, artifact.source)
            yield name
        finally:
            drop_schema(client, name)


#: The server ends when its standard input does, so also when the drill is killed.
_KEEPER = '"$@" & pid=$!; read -r _line; kill -KILL $pid; wait $pid'
_START = 60.0


@contextlib.contextmanager
def scratch_server(artifact: Artifact, work: Work) -> Iterator[Client]:
    """A server of its own in the scratch folder, reached by a socket there, for as long as the block lasts."""
    import pwd
    import shutil
    import subprocess
    import tempfile
    import time

    if work.place is not HOST:
        raise EngineError("failed", "a server for the drill can only be made on this host")
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/libexec:/usr/bin"
    server = shutil.which("mariadbd", path=path) or shutil.which("mysqld", path=path)
    if not server:
        raise EngineError("unreachable", "neither mariadbd nor mysqld is installed on this host")
    with contextlib.ExitStack() as stack:
        mine = os.path.join(work.scratch, "server")
        os.mkdir(mine, 0o700)
        stack.callback(shutil.rmtree, mine, True)
        user: Optional[str] = None
        sockets = mine
        if len(os.path.join(mine, "socket").encode()) > 100:
            sockets = stack.enter_context(tempfile.TemporaryDirectory(prefix="opsrunner-"))
        if os.geteuid() == 0:  # the server refuses to run as root
            user = "mysql" if "mysql" in {entry.pw_name for entry in pwd.getpwall()} else "nobody"
            entry = pwd.getpwnam(user)
            os.chmod(work.scratch, 0o711)  # noqa: S103 - only to be passed through
            for folder in sorted({mine, sockets}):
                os.chown(folder, entry.pw_uid, entry.pw_gid)
        data, socket = os.path.join(mine, "data"), os.path.join(sockets, "socket")
        install = shutil.which("mariadb-install-db", path=path)
        if install:
            first = [install, "--no-defaults", "--datadir=" + data, "--auth-root-authentication-method=normal", "--skip-test-db"]
        else:
            first = [server, "--no-defaults", "--datadir=" + data, "--initialize-insecure"]
        try:
            stream.run(command(*first, user=user))
        except stream.StreamError as error:
            raise EngineError("failed", "no server could be made for the drill: %s" % error) from None
        words = [
            "--datadir=" + data,
            "--socket=" + socket,
            "--pid-file=" + os.path.join(mine, "pid"),
            "--skip-networking",
            "--skip-log-bin",
        ]
        words += ["--max-allowed-packet=1G", "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--event-scheduler=OFF"]
        started = work.place.wrap(command("sh", "-c", _KEEPER, "sh", server, "--no-defaults", *words, user=user), work.limits)
        log = stack.enter_context(open(os.path.join(mine, "log"), "w+b"))
        process = subprocess.Popen(started.argv, env=started.env, cwd="/", stdin=subprocess.PIPE, stdout=log, stderr=log)
        stack.callback(process.wait)
        stack.callback(process.stdin.close)  # type: ignore[union-attr]  # it is a pipe
        client = Client({"socket": socket, "user": "root", "run_as": user}, work)
        until = time.monotonic() + _START
        while True:
            try:
                client.run("SELECT 1;")
                break
            except EngineError as error:
                if process.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    said = " ".join(log.read()[-1000:].decode("utf-8", "replace").split())
                    raise EngineError("failed", "the server for the drill did not start: %s" % (said or error)) from None
                time.sleep(0.1)
        yield client


# What both ways of a restore have


class _Base(Restorer):
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


class DatabaseRestorer(_Base):
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
            if piece.kind in _DEFINITIONS:
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
            self._make(_saved(session, qualified(self.kept, MARK)), str(self.artifact.source.get("database") or ""))
            self._note(session, "phase", "done")

    def _make(self, script: bytes, source: str) -> None:
        """Make definitions in the target, and give the rights on routines again, which went with them."""
        with self.client.session() as session:
            send(session, [script], source, self.target, lambda piece: piece.kind in _DEFINITIONS)
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
            data = b"".join(output(self.client, tables_dump(self.client, words, self.target)))
        except EngineError:
            broken = self._broken_views()
            if not broken:
                raise
            for name in broken:
                words.append("--ignore-table=%s.%s" % (self.target, name))
                row = self.client.rows("SHOW CREATE VIEW %s" % qualified(self.target, name))[0]
                self._note(session, "broken", "%s;" % row[1])
            data = b"".join(output(self.client, tables_dump(self.client, words, self.target)))
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
        """Statistics."""
        self._analyze(name for name, engine in base_tables(self.client, self.target).items() if engine != "SEQUENCE")

    def count(self) -> Mapping[str, int]:
        """What is in place."""
        return count(self.client, self.target)


def _rename(session: Session, pairs: Sequence[Tuple[Tuple[str, str], Tuple[str, str]]]) -> None:
    if pairs:
        session.ask("RENAME TABLE %s" % ", ".join("%s TO %s" % (qualified(*old), qualified(*new)) for old, new in pairs))


def _drop_definitions(client: Client, session: Session, schema: str) -> None:
    """Drop events, triggers, views and routines of a schema."""
    name = literal(schema)
    for row in client.rows("SELECT event_name FROM information_schema.events WHERE event_schema = %s" % name):
        session.ask("DROP EVENT IF EXISTS %s" % qualified(schema, row[0]))
    for row in client.rows("SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = %s" % name):
        session.ask("DROP TRIGGER IF EXISTS %s" % qualified(schema, row[0]))
    for row in client.rows("SELECT table_name FROM information_schema.views WHERE table_schema = %s" % name):
        session.ask("DROP VIEW IF EXISTS %s" % qualified(schema, row[0]))
    for row in client.rows("SELECT routine_type, routine_name FROM information_schema.routines WHERE routine_schema = %s" % name):
        if row[0] in ("PROCEDURE", "FUNCTION", "PACKAGE", "PACKAGE BODY"):
            session.ask("DROP %s IF EXISTS %s" % (row[0], qualified(schema, row[1])))


class TablesRestorer(_Base):
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


def trigger_table(text: bytes) -> str:
    """The table that a trigger is on."""
    found = _TRIGGER.search(text)
    return _bare(found.group(6)) if found else ""
