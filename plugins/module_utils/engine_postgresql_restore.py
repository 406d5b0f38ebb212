# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: S608 - names and texts go into SQL by quote() and literal() alone
"""The way back of the PostgreSQL engine: artifacts read, loaded into scratch databases, swapped in.

A whole database is loaded into a database of another name; the swap is two renames in one transaction, so there is no state
between. A setting ``opsrunner.restore`` on the database tells another process which one is the restored one.

Tables are loaded into such a database too, and then copied over in **one** transaction of the live database, which also keeps
their present rows in a schema ``opsrunner_aside_<ident>``: whatever is not restored stays as it is, also what is written after
the swap. Foreign keys from and to them are taken away and made again in that transaction, so the server checks every row.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import tempfile
import time
from typing import IO, Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils import backup_stream as stream
from ansible_collections.opsrunner.runbook.plugins.module_utils import engine_postgresql_facts as facts
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_engine import EngineError, Request, Restorer, Stored, Work
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_manifest import Artifact
from ansible_collections.opsrunner.runbook.plugins.module_utils.backup_places import HOST, command
from ansible_collections.opsrunner.runbook.plugins.module_utils.engine_postgresql_client import (
    Client,
    Session,
    code_of,
    fitted,
    literal,
    qualified,
    quote,
    shown,
    split_name,
)
from ansible_collections.opsrunner.runbook.plugins.module_utils.options import nearest

#: Databases of drills; one that nobody holds the lock of was left behind by a killed one.
DRILL = "opsrunner_drill_"
#: Who the first role of a server for a drill is: no name that a dump has.
SCRATCH_ROLE = "opsrunner_scratch"
_MARK = "opsrunner.restore"
#: The list of contents stands at an artifact's head; it is looked for in this much, then in more.
_HEAD = 4 << 20
_HEAD_LIMIT = 1 << 30
#: A restored database takes about the space of the old one, and its log.
_SPACE = 1.2
_SPACE_LEAST = 64 << 20


# Reading an artifact


def opened_artifact(artifact: Artifact, stored: Stored, work: Work) -> contextlib.AbstractContextManager[IO[bytes]]:
    """The raw stream of an artifact."""
    return stream.read(stored.path, compression(artifact, stored), bool(artifact.encryption), stored.identity, work.limits)


def compression(artifact: Artifact, stored: Stored) -> str:
    """How an artifact is compressed; by its file's ending where the manifest does not tell."""
    name = stored.path[: -len(".age")] if stored.path.endswith(".age") else stored.path
    return artifact.compression or {".zst": "zstd", ".gz": "gzip"}.get(os.path.splitext(name)[1], "none")


def listing(artifact: Artifact, stored: Stored, work: Work, user: Optional[str] = None) -> List[str]:
    """The lines of pg_restore's list of contents. EngineError when there is none."""
    size = _HEAD
    while True:
        with opened_artifact(artifact, stored, work) as file:
            head = _at_most(file, size)
        try:
            told = stream.run(command("pg_restore", "-l", user=user), work.place, head)
        except stream.StreamError as error:
            if len(head) < size or size >= _HEAD_LIMIT or code_of(str(error)) in ("version", "unreachable"):
                code = code_of(str(error))
                raise EngineError("damaged" if code == "failed" else code, str(error)) from None
            size *= 4
            continue
        return [line for line in told.decode("utf-8", "surrogateescape").splitlines() if line and not line.startswith(";")]


def _at_most(file: IO[bytes], size: int) -> bytes:
    pieces: List[bytes] = []
    while size:
        block = file.read(min(size, stream.BLOCK))
        if not block:
            break
        pieces.append(block)
        size -= len(block)
    return b"".join(pieces)


class CopyCounter:
    """Counts the rows of each COPY in the script that pg_restore writes; a row is a line, whatever it holds."""

    _NAME = rb'(?:"(?:[^"]|"")*"|[^\s".(]+)'
    _HEADER = re.compile(rb"\nCOPY (" + _NAME + rb")\.(" + _NAME + rb") +(?:\(.*?\) +)?FROM stdin;(?=\n)", re.DOTALL)
    _START, _END = b"\nCOPY ", b"\n\\.\n"
    _OBJECT = b"\nSELECT pg_catalog.lo_open('"
    #: A line without an end is kept to this size while it may become a header: 1600 quoted columns.
    _LINE = 1 << 18

    def __init__(self) -> None:
        self.rows: Dict[str, int] = {}
        self.objects = 0
        self._rest = b"\n"
        self._table: Optional[str] = None
        self._lines = 0

    def feed(self, block: bytes) -> None:
        """The next block of the script."""
        data = self._rest + block
        while True:
            if self._table is None:
                header = self._HEADER.search(data)
                if not header:
                    # A header or an object's line that has begun is kept until there is more of it; a long line is neither.
                    start = data.rfind(self._START)
                    cut = start if start >= 0 else data.rfind(b"\n")
                    if cut < 0 or len(data) - cut > self._LINE:
                        cut = len(data)
                    self.objects += data.count(self._OBJECT, 0, cut)
                    self._rest = data[cut:]
                    return
                self.objects += data.count(self._OBJECT, 0, header.start() + 1)
                self._table = "rows." + shown(*(_unquoted(part) for part in header.groups()))
                self._lines = 0
                data = data[header.end() :]
            end = data.find(self._END)
            if end < 0:
                counted = max(0, len(data) - len(self._END) + 1)
                self._lines += data.count(b"\n", 0, counted)
                self._rest = data[counted:]
                return
            self._lines += data.count(b"\n", 0, end + 1)
            self.rows[self._table] = self.rows.get(self._table, 0) + self._lines - 1
            self._table = None
            data = data[end + len(self._END) - 1 :]

    def finish(self) -> Dict[str, int]:
        """Rows by name. EngineError when a table has no end."""
        if self._table is not None:
            raise EngineError("damaged", "%s ends in the middle" % self._table)
        return self.rows


def _unquoted(part: bytes) -> str:
    text = part.decode("utf-8", "surrogateescape")
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


#: Kinds of entries by what is counted.
_ENTRIES = {
    "tables": ("TABLE",),
    "views": ("VIEW",),
    "matviews": ("MATERIALIZED VIEW",),
    "sequences": ("SEQUENCE",),
    "functions": ("FUNCTION", "PROCEDURE", "AGGREGATE"),
}
_WORDS = sorted(
    {word for words in _ENTRIES.values() for word in words}
    | {"TABLE DATA", "TABLE ATTACH", "SEQUENCE SET", "SEQUENCE OWNED BY", "MATERIALIZED VIEW DATA"},
    key=lambda word: -len(word),
)
_ENTRY = re.compile(r"\d+; \d+ \d+ (%s) " % "|".join(_WORDS))


def check_content(artifact: Artifact, stored: Stored, work: Work) -> None:
    """Read an artifact to its end and hold it against its manifest. EngineError."""
    told: Dict[str, int] = {}
    for line in listing(artifact, stored, work):
        entry = _ENTRY.match(line)
        if entry:
            told[entry.group(1)] = told.get(entry.group(1), 0) + 1
    counter = CopyCounter()
    try:
        stream.feed(
            stored.path,
            command("pg_restore", "-a", "-f", "-"),
            compression(artifact, stored),
            bool(artifact.encryption),
            stored.identity,
            work.limits,
            work.place,
            counter.feed,
        )
    except stream.StreamError as error:
        code = code_of(str(error))
        raise EngineError("damaged" if code == "failed" else code, str(error)) from None
    found = counter.finish()
    wrong = []
    if artifact.counts:
        names = set(found) | {name for name in artifact.counts if name.startswith("rows.")}
        wrong += [
            "%s: %s, not %d" % (name, found.get(name, "no such table"), artifact.counts.get(name, 0))
            for name in sorted(names)
            if name not in found or found[name] != artifact.counts.get(name, 0)
        ]
        for name, kinds in _ENTRIES.items():
            number = sum(told.get(kind, 0) for kind in kinds)
            if name in artifact.counts and number != artifact.counts[name]:
                wrong.append("%s: %d, not %d" % (name, number, artifact.counts[name]))
        if counter.objects != artifact.counts.get("large_objects", 0):
            wrong.append("large_objects: %d, not %d" % (counter.objects, artifact.counts.get("large_objects", 0)))
    if wrong:
        raise EngineError("damaged", "holds something else than the manifest tells: " + "; ".join(wrong[:10]))


def take(session: Session, artifact: Artifact) -> Tuple[Dict[str, int], Dict[str, str]]:
    """Counts and samples of a restored database, by the names that the artifact's manifest has."""
    content = artifact.source.get("content", "whole")
    only = None
    if content == "tables":
        only = {(relation.schema, relation.name) for relation in facts.relations(session)}
    counted = dict(facts.counts(session, only, rows=content != "schema"))
    return counted, facts.samples(session, artifact.samples) if artifact.samples else {}


# Before a restore


def preflight(client: Client, artifact: Artifact, maintenance: str) -> int:
    """Whether the server can have what an artifact holds; its version. EngineError."""
    row = client.rows(
        maintenance, "SELECT current_setting('server_version_num')::int AS number, current_setting('server_version') AS text"
    )[0]
    wanted = artifact.server_version
    if wanted and int(row["number"]) // 10000 < int(re.split(r"\D", wanted)[0] or 0):
        raise EngineError(
            "version", "the server has version %s, the dump is of %s: it can only go to that or a newer one" % (row["text"], wanted)
        )
    there = {item["name"] for item in client.rows(maintenance, "SELECT name FROM pg_available_extensions")}
    missing = sorted(set(artifact.source.get("extensions") or {}) - there)
    if missing:
        raise EngineError("failed", "the server has not the extension %s: install it first" % ", ".join(missing))
    return int(row["number"])


def missing_roles(client: Client, artifact: Artifact, maintenance: str) -> List[str]:
    """Roles that the artifact names and the server has not."""
    there = {item["name"] for item in client.rows(maintenance, "SELECT rolname AS name FROM pg_roles")}
    return sorted(set(artifact.source.get("roles") or ()) - there)


def data_folder(client: Client, maintenance: str) -> Optional[str]:
    """The folder of the server's data if it is on this host and we may know it."""
    if not client.local or client.work.place is not HOST:
        return None
    with contextlib.suppress(EngineError):
        for row in client.rows(maintenance, "SELECT setting AS path FROM pg_settings WHERE name = 'data_directory'"):
            if row["path"] and os.path.isdir(row["path"]):
                return str(row["path"])
    return None


def space_needed(artifact: Artifact) -> int:
    """Bytes that a restored copy takes."""
    return int((artifact.source.get("bytes") or artifact.size * 4) * _SPACE) + _SPACE_LEAST


# Scratch places


def terminate(client: Client, maintenance: str, name: str) -> None:
    """End all connections of a database that takes no new ones. EngineError when one does not go."""
    until = time.monotonic() + client.timeout
    while True:
        left = client.rows(
            maintenance,
            "SELECT pid, pg_terminate_backend(pid) AS told FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
            % literal(name),
        )
        if not left:
            return
        if time.monotonic() > until:
            raise EngineError("failed", "%d connections of %s do not end" % (len(left), name))
        time.sleep(0.05)


def drop(client: Client, maintenance: str, name: str) -> None:
    """Remove a database of ours, also one that is half dropped already."""
    found = client.rows(maintenance, "SELECT datconnlimit AS limit FROM pg_database WHERE datname = %s" % literal(name))
    if not found:
        return
    if found[0]["limit"] != -2:  # -2: a DROP that was cut off, nothing but another DROP is allowed
        client.run(maintenance, "ALTER DATABASE %s ALLOW_CONNECTIONS false IS_TEMPLATE false" % quote(name))
    terminate(client, maintenance, name)
    client.run(maintenance, "DROP DATABASE IF EXISTS %s" % quote(name), hurried=False)


def _clear(client: Client, name: str) -> None:
    """Drop what is in a database of ours. On a full disk that works where DROP DATABASE does not: it begins with a checkpoint."""
    for row in client.rows(name, "SELECT nspname AS name FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"):
        client.run(name, "DROP SCHEMA %s CASCADE" % quote(row["name"]), hurried=False)


def _create_anywhere(client: Client, maintenance: str, like: Mapping[str, Any], name: str, version: int) -> None:
    """A database for a drill; on a host that has not the locale, with another one."""
    try:
        client.run(maintenance, facts.creation(like, name, version), hurried=False)
    except EngineError as error:
        if "locale" not in str(error).lower():
            raise
        client.work.warn("the locale %s is not on this host: texts are sorted by their bytes in the drill" % like.get("collate"))
        client.run(maintenance, facts.creation(like, name, version, locale=False), hurried=False)


def load(client: Client, name: str, artifact: Artifact, stored: Stored, work: Work) -> None:
    """Restore an artifact into an empty database; the first error ends it. EngineError."""
    words = ["--exit-on-error", "--no-subscriptions"]
    if "plpgsql" not in artifact.source.get("extensions", ("plpgsql",)):
        client.run(name, "DROP EXTENSION IF EXISTS plpgsql")  # each new database has it
    with contextlib.ExitStack() as stack:
        unwanted = {"FK CONSTRAINT %s %s %s " % tuple(key) for key in artifact.source.get("open_keys") or ()}
        if unwanted:
            lines = [line for line in listing(artifact, stored, work) if not any(text in line for text in unwanted)]
            file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="opsrunner-", suffix=".list"))
            file.write(("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))
            file.flush()
            os.fchmod(file.fileno(), 0o644)  # read by run_as; names of tables, no data
            words += ["-L", file.name]
        try:
            stream.feed(
                stored.path,
                client.command("pg_restore", *words, database=name),
                compression(artifact, stored),
                bool(artifact.encryption),
                stored.identity,
                work.limits,
                work.place,
            )
        except stream.StreamError as error:
            problem = client.error(error)
            if problem.code == "space":
                with contextlib.suppress(EngineError):
                    _clear(client, name)
            raise problem from None


@contextlib.contextmanager
def scratch_database(client: Client, artifact: Artifact, stored: Stored, work: Work, own: bool) -> Iterator[str]:
    """An empty database for a drill, dropped afterwards; those that killed drills left are dropped first.

    ``own``: the server is the drill's, too: roles that are missing are made.
    """
    source = artifact.source
    maintenance = client.maintenance()
    version = preflight(client, artifact, maintenance)
    missing = missing_roles(client, artifact, maintenance)
    if missing and own:
        client.run(maintenance, ";\n".join("CREATE ROLE %s" % quote(role) for role in missing))
    elif missing:
        raise EngineError("failed", "the server has not the role %s: restore the globals first" % ", ".join(missing))
    folder = work.scratch if own else data_folder(client, maintenance)
    if folder:
        free = os.statvfs(folder)
        if free.f_bavail * free.f_frsize < space_needed(artifact):
            raise EngineError(
                "space", "%d bytes are free in %s, %d are needed" % (free.f_bavail * free.f_frsize, folder, space_needed(artifact))
            )
    name = DRILL + os.urandom(6).hex()
    if name in (source.get("database"), client.spec.get("database")) or str(source.get("database", "")).startswith(DRILL):
        raise EngineError("same", "the drill's database and the source's are one: %s" % source.get("database"))
    with client.session(maintenance) as holder:
        holder.ask("SELECT pg_advisory_lock(hashtextextended(%s, 0))" % literal(name))
        for row in holder.rows("SELECT datname AS name FROM pg_database WHERE left(datname, %d) = %s" % (len(DRILL), literal(DRILL))):
            lock = "(hashtextextended(%s, 0))" % literal(row["name"])
            if holder.ask("SELECT pg_try_advisory_lock" + lock) == "t":
                work.warn("%s was left behind by a drill and is dropped" % row["name"])
                drop(client, maintenance, row["name"])
                holder.ask("SELECT pg_advisory_unlock" + lock)
        try:
            like = source if source.get("encoding") else {"encoding": "UTF8", "collate": "C", "ctype": "C"}
            _create_anywhere(client, maintenance, like, name, version)
            yield name
        finally:
            drop(client, maintenance, name)


def _programs(version: int) -> str:
    """The folder of the server programs of the oldest version that is new enough. EngineError."""
    import glob

    found: List[Tuple[int, str]] = []
    which = shutil.which("initdb")
    folders = [os.path.dirname(os.path.realpath(which))] if which else []
    for folder in folders + sorted(glob.glob("/usr/lib/postgresql/*/bin") + glob.glob("/usr/pgsql-*/bin")):
        if os.access(os.path.join(folder, "initdb"), os.X_OK) and os.access(os.path.join(folder, "pg_ctl"), os.X_OK):
            told = stream.run(command(os.path.join(folder, "initdb"), "--version"), timeout=30)
            number = re.search(rb"\) (\d+)", told)
            if number:
                found.append((int(number.group(1)), folder))
    fit = sorted(item for item in found if item[0] >= version)
    if not fit:
        there = ", ".join(sorted({str(number) for number, _folder in found}))
        raise EngineError(
            "version" if found else "unreachable",
            "no PostgreSQL server of version %d or newer is installed on this host (%s)"
            % (version, "there are: " + there if found else "none is"),
        )
    return fit[0][1]


@contextlib.contextmanager
def scratch_server(artifact: Artifact, work: Work) -> Iterator[Client]:
    """A server of its own in the scratch folder, reached by a socket there, for as long as the block lasts."""
    import pwd

    if work.place is not HOST:
        raise EngineError("failed", "a server for the drill can only be made on this host")
    folder = _programs(int(re.split(r"\D", artifact.server_version or "0")[0] or 0))
    user: Optional[str] = None
    base = work.scratch
    with contextlib.ExitStack() as stack:
        if os.geteuid() == 0:  # the server refuses to run as root
            names = {entry.pw_name for entry in pwd.getpwall()}
            user = "postgres" if "postgres" in names else "nobody"
            entry = pwd.getpwnam(user)
            os.chmod(base, 0o711)  # noqa: S103 - only to be passed through
            mine = os.path.join(base, "server")
            os.mkdir(mine, 0o700)
            os.chown(mine, entry.pw_uid, entry.pw_gid)
        else:
            mine = os.path.join(base, "server")
            os.mkdir(mine, 0o700)
        sockets = mine
        if len(os.path.join(sockets, ".s.PGSQL.5432").encode()) > 100:
            sockets = stack.enter_context(tempfile.TemporaryDirectory(prefix="opsrunner-"))
            if user:
                os.chown(sockets, pwd.getpwnam(user).pw_uid, -1)
        data = os.path.join(mine, "data")
        try:
            stream.run(
                command(
                    os.path.join(folder, "initdb"),
                    "-D",
                    data,
                    "-U",
                    SCRATCH_ROLE,
                    "-A",
                    "trust",
                    "-E",
                    "UTF8",
                    "--locale=C",
                    "-N",
                    user=user,
                )
            )
            with open(os.path.join(data, "postgresql.conf"), "a", encoding="utf-8") as config:
                config.write(
                    "\nlisten_addresses = ''\nunix_socket_directories = %s\nunix_socket_permissions = 0700\nfsync = off\n"
                    "full_page_writes = off\nautovacuum = off\nwal_level = minimal\nmax_wal_senders = 0\nmax_connections = 20\n"
                    "max_locks_per_transaction = 1024\nshared_buffers = 64MB\n" % literal(sockets)
                )
            start = command(
                os.path.join(folder, "pg_ctl"), "-D", data, "-w", "-t", "60", "-s", "-l", os.path.join(mine, "log"), "start", user=user
            )
            stack.callback(_stop, folder, data, user)
            stream.run(start, timeout=90)
        except stream.StreamError as error:
            raise EngineError("failed", "no server could be made for the drill: %s" % error) from None
        yield Client({"host": sockets, "port": 5432, "user": SCRATCH_ROLE, "run_as": user}, work)


def _stop(folder: str, data: str, user: Optional[str]) -> None:
    with contextlib.suppress(stream.StreamError):
        stream.run(command(os.path.join(folder, "pg_ctl"), "-D", data, "-m", "immediate", "-w", "-s", "stop", user=user), timeout=90)
    shutil.rmtree(os.path.dirname(data), ignore_errors=True)


# Restore of a whole database


class _Base(Restorer):
    def __init__(self, client: Client, artifact: Artifact, stored: Stored, request: Request, work: Work, target: str) -> None:
        self.client, self.artifact, self.stored, self.request, self.work, self.target = client, artifact, stored, request, work, target
        self.new = fitted(target, "_opsrunner_new_" + request.ident)
        self._maintenance: Optional[str] = None

    @property
    def maintenance(self) -> str:
        """A database to connect to meanwhile."""
        if self._maintenance is None:
            self._maintenance = self.client.maintenance(self.target)
        return self._maintenance

    def needs(self) -> List[Tuple[str, int]]:
        """Space for a second copy, where the server's folder is ours to see."""
        folder = data_folder(self.client, self.maintenance)
        if folder:
            with contextlib.suppress(EngineError):
                rows = self.client.rows(
                    self.maintenance,
                    "SELECT pg_tablespace_location(dattablespace) AS path FROM pg_database WHERE datname = %s" % literal(self.target),
                )
                folder = rows[0]["path"] if rows and rows[0]["path"] else folder
        return [(folder, space_needed(self.artifact))] if folder else []

    def check(self) -> None:
        """Version, extensions, roles, rights; whether the database can be renamed."""
        if self.target in ("template0", "template1"):
            raise EngineError("failed", "%s is the server's own and not restored" % self.target)
        preflight(self.client, self.artifact, self.maintenance)
        missing = missing_roles(self.client, self.artifact, self.maintenance)
        if missing:
            raise EngineError("failed", "the server has not the role %s: restore the globals first" % ", ".join(missing))
        right = self.client.rows(self.maintenance, "SELECT rolsuper OR rolcreatedb AS may FROM pg_roles WHERE rolname = current_user")[0]
        if not right["may"]:
            raise EngineError("denied", "the user may not create databases, as a restore has to")

    def _make_stage(self) -> None:
        """A database of the artifact's content beside the present one."""
        drop(self.client, self.maintenance, self.new)
        version = preflight(self.client, self.artifact, self.maintenance)
        present = self._present() or {}
        like = dict(self.artifact.source)
        if not like.get("encoding"):
            like = dict(present or {"encoding": "UTF8", "collate": "C", "ctype": "C"})
        like["tablespace"] = present.get("tablespace") or like.get("tablespace")
        there = {row["name"] for row in self.client.rows(self.maintenance, "SELECT spcname AS name FROM pg_tablespace")}
        if like["tablespace"] and like["tablespace"] not in there:
            self.work.warn("there is no tablespace %s on this server: %s goes to the usual one" % (like["tablespace"], self.target))
            like["tablespace"] = None
        self.client.run(self.maintenance, facts.creation(like, self.new, version, tablespace=True), hurried=False)
        load(self.client, self.new, self.artifact, self.stored, self.work)

    def _present(self) -> Optional[Dict[str, Any]]:
        if not self._databases().get(self.target):
            return None
        with self.client.session(self.maintenance) as session:
            return facts.database(session, self.target)

    def _databases(self) -> Dict[str, Dict[str, Any]]:
        """The databases on the server, and whose restore has marked them."""
        rows = self.client.rows(
            self.maintenance,
            "SELECT d.datname AS name, d.datallowconn AS open, (SELECT split_part(c.item, '=', 2) FROM pg_db_role_setting s "
            "CROSS JOIN unnest(s.setconfig) AS c(item) WHERE s.setdatabase = d.oid AND s.setrole = 0 AND c.item LIKE %s) AS mark "
            "FROM pg_database d" % literal(_MARK + "=%"),
        )
        return {row["name"]: row for row in rows}

    @contextlib.contextmanager
    def _alone(self, database: str) -> Iterator[Session]:
        """A session that is the only one to work on the target; one that was killed ends its statement first."""
        with self.client.session(database) as session:
            session.ask("SELECT pg_advisory_lock(hashtextextended(%s, 0))" % literal("opsrunner restore " + self.target))
            yield session

    def unstage(self) -> None:
        """Drop the database beside."""
        drop(self.client, self.maintenance, self.new)


class DatabaseRestorer(_Base):
    """A database as a whole."""

    def __init__(self, client: Client, artifact: Artifact, stored: Stored, request: Request, work: Work, target: str) -> None:
        super().__init__(client, artifact, stored, request, work, target)
        self.kept = fitted(target, "_opsrunner_aside_" + request.ident)

    def _swapped(self, found: Mapping[str, Mapping[str, Any]]) -> bool:
        return self.target in found and found[self.target]["mark"] == self.request.ident

    def check(self) -> None:
        """Also whether the present database can step aside."""
        super().check()
        found = self._databases()
        if self.target not in found or self._swapped(found):
            return
        if not found[self.target]["open"]:
            raise EngineError("failed", "%s takes no connections: something else is going on with it" % self.target)
        prepared = self.client.rows(self.maintenance, "SELECT gid FROM pg_prepared_xacts WHERE database = %s" % literal(self.target))
        if prepared:
            raise EngineError(
                "failed", "%s has prepared transactions, which hold it: commit or roll back %s" % (self.target, prepared[0]["gid"])
            )
        with contextlib.suppress(EngineError):
            slots = self.client.rows(
                self.maintenance, "SELECT slot_name AS name FROM pg_replication_slots WHERE database = %s" % literal(self.target)
            )
            for slot in slots:
                self.work.warn("the replication slot %s stays with the data that is set aside" % slot["name"])
        for name in self._subscriptions(self.target):
            self.work.warn("the subscription %s is not restored, it and its slot stay with the data that is set aside: make it anew" % name)

    def _subscriptions(self, database: str) -> List[str]:
        query = "SELECT s.subname AS name FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = %s ORDER BY 1"
        return [row["name"] for row in self.client.rows(self.maintenance, query % literal(database))]

    def stage(self) -> Mapping[str, int]:
        """The artifact in a database of another name, with owner, privileges and settings of the one it will stand for."""
        if self._swapped(self._databases()):
            raise EngineError("failed", "%s is in place already" % self.request.ident)
        self._make_stage()
        like = self._present() or self.artifact.source
        told = []
        if like.get("owner"):
            there = self.client.rows(self.maintenance, "SELECT 1 AS one FROM pg_roles WHERE rolname = %s" % literal(like["owner"]))
            if not there:
                raise EngineError("failed", "the server has not the role %s, which owns %s" % (like["owner"], self.target))
            told.append("ALTER DATABASE %s OWNER TO %s" % (quote(self.new), quote(like["owner"])))
        told += facts.properties(like, self.new)
        told.append("ALTER DATABASE %s SET %s TO %s" % (quote(self.new), _MARK, literal(self.request.ident)))
        self.client.run(self.maintenance, "BEGIN;\n%s;\nCOMMIT" % ";\n".join(told))
        with self.client.session(self.new) as session:
            counted, _samples = take(session, self.artifact)
            late = facts.behind(self.artifact.source.get("sequences") or {}, facts.sequences(session))
        if late:
            raise EngineError("differs", "; ".join(late[:10]))
        return counted

    def swap(self) -> None:
        """Both renames in one transaction, after the last connection is gone."""
        with self._alone(self.maintenance) as session:
            found = self._databases()
            if self._swapped(found):
                return
            if self.new not in found or found[self.new]["mark"] != self.request.ident:
                raise EngineError("failed", "%s was not staged" % self.new)
            self._rename(
                session, [(self.target, self.kept), (self.new, self.target)] if self.target in found else [(self.new, self.target)]
            )

    def _rename(self, session: Session, pairs: Sequence[Tuple[str, str]]) -> None:
        for old, _name in pairs:
            session.ask("ALTER DATABASE %s ALLOW_CONNECTIONS false" % quote(old))
        for old, _name in pairs:
            terminate(self.client, self.maintenance, old)
        session.ask("BEGIN")
        for old, name in pairs:
            session.ask("ALTER DATABASE %s RENAME TO %s" % (quote(old), quote(name)))
        session.ask("ALTER DATABASE %s ALLOW_CONNECTIONS true" % quote(self.target if self.target in dict(pairs).values() else pairs[0][1]))
        session.ask("COMMIT")

    def unswap(self) -> None:
        """The same backwards; where nothing was renamed, connections are let in again."""
        with self._alone(self.maintenance) as session:
            found = self._databases()
            if self._swapped(found):
                pairs = [(self.target, self.new)]
                if self.kept in found:
                    pairs.append((self.kept, self.target))
                self._rename(session, pairs)
            elif self.target in found and not found[self.target]["open"]:
                session.ask("ALTER DATABASE %s ALLOW_CONNECTIONS true" % quote(self.target))

    def finish(self) -> None:
        """Statistics; indexes were made by the restore itself."""
        self.client.run(self.target, "ANALYZE", hurried=False)

    def count(self) -> Mapping[str, int]:
        """What is in place."""
        with self.client.session(self.target) as session:
            return take(session, self.artifact)[0]

    def aside(self) -> List[str]:
        """The database that was renamed."""
        return ["database %s" % self.kept] if self.kept in self._databases() else []

    def discard(self) -> None:
        """Drop the database set aside, and forget which restore the present one is from."""
        found = self._databases()
        # A later restore may have set the restored one aside in its turn; what counts is that there is one.
        if self.target not in found and self.kept in found:
            raise EngineError("failed", "there is no database %s: %s is not dropped" % (self.target, self.kept))
        subscriptions = self._subscriptions(self.kept)
        if subscriptions:
            raise EngineError(
                "failed",
                "%s has the subscription %s, which holds a slot on its publisher: allow connections to it (ALTER DATABASE), drop the "
                "subscription, then discard again" % (self.kept, ", ".join(subscriptions)),
            )
        drop(self.client, self.maintenance, self.kept)
        if self._swapped(found):
            self.client.run(self.maintenance, "ALTER DATABASE %s RESET %s" % (quote(self.target), _MARK))


# Restore of tables


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


class TablesRestorer(_Base):
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
