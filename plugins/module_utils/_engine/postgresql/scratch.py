# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: S608 - names and texts go into SQL by quote() and literal() alone
"""Databases that the PostgreSQL engine makes and drops: beside the present one for a restore, on trial for a drill."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import HOST, command

from ..artifact import Artifact
from ..base import EngineError, Stored, Work
from ..sql import NOBODY, compression, enough_space
from . import facts
from .artifact import head, listing
from .client import Client, Session, literal, quote

#: Databases of drills; one that nobody holds the lock of was left behind by a killed one.
DRILL = "opsrunner_drill_"
#: Who the first role of a server for a drill is: no name that a dump has.
SCRATCH_ROLE = "opsrunner_scratch"
#: Bytes of a database from which on indexes are made several at a time.
_LARGE = 64 << 20


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
        definitions = _definitions(stack, client, artifact, stored, work)
        sections = ["--section=pre-data", "--section=data"] if definitions else []
        try:
            stream.feed(
                stored.path,
                client.command("pg_restore", *words, *sections, database=name),
                compression(artifact, stored),
                bool(artifact.encryption),
                stored.identity,
                work.limits,
                work.place,
            )
            if definitions:
                words += ["--section=post-data", "--jobs=%d" % work.workers, definitions]
                stream.run(client.command("pg_restore", *words, database=name), work.place, limits=work.limits)
        except stream.StreamError as error:
            problem = client.error(error)
            if problem.code == "space":
                with contextlib.suppress(EngineError):
                    _clear(client, name)
            raise problem from None


def _definitions(stack: contextlib.ExitStack, client: Client, artifact: Artifact, stored: Stored, work: Work) -> Optional[str]:
    """A file of an artifact's definitions alone, from which indexes and keys are made several at a time; rows come from the
    stream. None where that gains nothing, or the user that the programs run as could not read it."""
    user = client.spec.get("run_as")
    others = [os.path.realpath(work.scratch)]
    while others[-1] != "/":
        others.append(os.path.dirname(others[-1]))
    if work.workers < 2 or work.place is not HOST or (artifact.source.get("bytes") or 0) < _LARGE:
        return None
    if user and not all(os.stat(folder).st_mode & 0o001 for folder in others[1:]):
        return None
    folder = tempfile.mkdtemp(prefix="definitions-", dir=work.scratch)
    stack.callback(shutil.rmtree, folder, True)
    path = os.path.join(folder, "head.dump")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(head(artifact, stored, work)[0])
    if user and os.geteuid() == 0:
        os.chmod(work.scratch, 0o711)  # noqa: S103 - only to be passed through
        for mine in (folder, path):
            shutil.chown(mine, user)
    return path


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
    enough_space(folder, artifact)
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


def rights(client: Client) -> Tuple[str, bool]:
    """The role that we are on a server, and whether it may do everything."""
    query = "SELECT rolname AS name, CASE WHEN rolsuper THEN 't' ELSE 'f' END AS super FROM pg_roles WHERE rolname = current_user"
    (row,) = client.rows(client.maintenance(), query)
    return row["name"], row["super"] == "t"


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
        if os.geteuid() == 0:  # the server refuses to run as root, and its data's owner is not to be trusted with more than nobody has
            user = NOBODY
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
                ),
                limits=work.limits,
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
            raise EngineError("unreachable", "no server could be made for the drill: %s" % error) from None
        yield Client({"host": sockets, "port": 5432, "user": SCRATCH_ROLE, "run_as": user}, work)


def _stop(folder: str, data: str, user: Optional[str]) -> None:
    with contextlib.suppress(stream.StreamError):
        stream.run(command(os.path.join(folder, "pg_ctl"), "-D", data, "-m", "immediate", "-w", "-s", "stop", user=user), timeout=90)
    shutil.rmtree(os.path.dirname(data), ignore_errors=True)
