# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: S608 - names and texts go into SQL by quote() and literal() alone
"""Schemas that the MySQL engine makes and drops: beside the present one for a restore, on trial for a drill."""

from __future__ import annotations

import contextlib
import os
from typing import IO, TYPE_CHECKING, Iterator, Mapping, Optional, Tuple

from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import HOST, command

from ..artifact import Artifact
from ..base import EngineError, Work
from ..sql import NOBODY, enough_space
from .client import Client, literal, quote
from .load import data_folder, preflight

if TYPE_CHECKING:
    import subprocess

#: Schemas of drills; one that nobody holds the lock of was left behind by a killed one.
DRILL = "opsrunner_drill_"


def create_schema(client: Client, name: str, like: Mapping[str, object]) -> None:
    """An empty schema."""
    words = "CREATE DATABASE %s" % quote(name)
    if like.get("charset"):
        words += " CHARACTER SET %s COLLATE %s" % (literal(str(like["charset"])), literal(str(like["collation"])))
    client.run(words + ";")


def drop_schema(client: Client, name: str) -> None:
    """Remove a schema of ours."""
    client.run("SET SESSION foreign_key_checks = 0; DROP DATABASE IF EXISTS %s;" % quote(name), hurried=False)


def rights(client: Client) -> Tuple[str, bool]:
    """The account that we are on a server, and whether it may do everything: SUPER or FILE reaches beyond the database."""
    role = client.rows("SELECT CURRENT_USER()")[0][0]
    query = "SELECT COUNT(*) FROM information_schema.user_privileges WHERE privilege_type IN ('SUPER', 'FILE') AND grantee = %s"
    user, _at, host = role.rpartition("@")
    return role, client.rows(query % literal("'%s'@'%s'" % (user, host)))[0][0] != "0"


@contextlib.contextmanager
def scratch_schema(client: Client, artifact: Artifact, work: Work) -> Iterator[str]:
    """An empty schema for a drill, dropped afterwards; those that killed drills left are dropped first."""
    preflight(client, artifact)
    enough_space(data_folder(client), artifact)
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
        if os.geteuid() == 0:  # the server refuses to run as root, and its data's owner is not to be trusted with more than nobody has
            user = NOBODY
            entry = pwd.getpwnam(user)
            os.chmod(work.scratch, 0o711)  # noqa: S103 - only to be passed through
            for folder in sorted({mine, sockets}):
                os.chown(folder, entry.pw_uid, entry.pw_gid)
        data, socket = os.path.join(mine, "data"), os.path.join(sockets, "socket")
        _make_data(server, data, path, user, work)
        words = [
            "--datadir=" + data,
            "--socket=" + socket,
            "--pid-file=" + os.path.join(mine, "pid"),
            "--skip-networking",
            "--skip-log-bin",
            "--secure-file-priv=" + mine,
            "--local-infile=0",
        ]
        words += ["--max-allowed-packet=1G", "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--event-scheduler=OFF"]
        started = work.place.wrap(command("sh", "-c", _KEEPER, "sh", server, "--no-defaults", *words, user=user), work.limits)
        log = stack.enter_context(open(os.path.join(mine, "log"), "w+b"))
        process = subprocess.Popen(started.argv, env=started.env, cwd="/", stdin=subprocess.PIPE, stdout=log, stderr=log)
        stack.callback(process.wait)
        stack.callback(process.stdin.close)  # type: ignore[union-attr]  # it is a pipe
        client = Client({"socket": socket, "user": "root", "run_as": user}, work)
        _await_answer(client, process, log)
        yield client


def _make_data(server: str, data: str, path: str, user: Optional[str], work: Work) -> None:
    """The folder of the server's data. EngineError."""
    import shutil

    install = shutil.which("mariadb-install-db", path=path)
    if install:
        first = [install, "--no-defaults", "--datadir=" + data, "--auth-root-authentication-method=normal", "--skip-test-db"]
    else:
        first = [server, "--no-defaults", "--datadir=" + data, "--initialize-insecure"]
    try:
        stream.run(command(*first, user=user), limits=work.limits)
    except stream.StreamError as error:
        raise EngineError("unreachable", "no server could be made for the drill: %s" % error) from None


def _await_answer(client: Client, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    """Wait until the server answers. EngineError when it ends, or answers nothing in time."""
    import time

    until = time.monotonic() + _START
    while True:
        try:
            client.run("SELECT 1;")
            return
        except EngineError as error:
            if error.code == "interrupted":  # what ended the client says nothing of the server
                raise
            if process.poll() is not None:
                log.seek(0)
                said = " ".join(log.read()[-1000:].decode("utf-8", "replace").split())
                raise EngineError("unreachable", "the server for the drill did not start: %s" % (said or error)) from None
            if time.monotonic() > until:
                raise EngineError("unreachable", "the server for the drill runs and does not answer: %s" % error) from None
            time.sleep(0.1)
