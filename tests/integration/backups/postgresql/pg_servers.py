# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL server of the tests' own, and artifacts made of its databases."""

from __future__ import annotations

import glob
import hashlib
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.artifact import Artifact
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import Request, Stored, Work
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.postgresql.engine import PostgresqlEngine
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream

HERE = Path(__file__).parent
PASSWORD = "correct horse 'battery' \\staple"


def programs() -> str:
    """The folder of the server's programs."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb")) or [shutil.which("initdb") or ""]
    if not found[-1] or not shutil.which("pg_dump"):
        (pytest.fail if os.environ.get("STRICT") == "1" else pytest.skip)("PostgreSQL is not installed")
    return os.path.dirname(os.path.realpath(found[-1]))


class Server:
    """A server in a temporary folder; as root it runs as another user."""

    def __init__(self, port: int) -> None:
        self.bin, self.port = programs(), port
        self.user = None if os.geteuid() else ("postgres" if "postgres" in {entry.pw_name for entry in pwd.getpwall()} else "nobody")
        self.folder = tempfile.mkdtemp(prefix="opsrunner-pg-", dir="/tmp")
        if self.user:
            os.chown(self.folder, pwd.getpwnam(self.user).pw_uid, -1)
        self.data = os.path.join(self.folder, "data")
        self._as_user("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        with open(os.path.join(self.data, "postgresql.conf"), "a", encoding="utf-8") as config:
            config.write(
                f"listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{self.folder}'\nfsync = off\n"
                "full_page_writes = off\nautovacuum = off\nmax_connections = 40\nshared_buffers = 64MB\nmax_wal_size = 2GB\n"
                "wal_level = minimal\nmax_wal_senders = 0\n"
            )
        with open(os.path.join(self.data, "pg_hba.conf"), "w", encoding="utf-8") as rules:
            rules.write("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        self.start()

    def _as_user(self, program: str, *words: str) -> None:
        argv = [os.path.join(self.bin, program), *words]
        prefix = ["runuser", "-u", self.user, "--"] if self.user else []
        done = subprocess.run([*prefix, *argv], cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        """Start, wait until it answers."""
        self._as_user("pg_ctl", "-D", self.data, "-w", "-s", "-l", os.path.join(self.folder, "log"), "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop, by default as a crash would."""
        self._as_user("pg_ctl", "-D", self.data, "-m", mode, "-w", "-s", "stop")

    def remove(self) -> None:
        """Stop and remove."""
        self.stop()
        shutil.rmtree(self.folder)

    def spec(self, database: str, **more: Any) -> dict[str, Any]:
        """The engine's keys for a database of this server."""
        given = {
            "database": database,
            "host": self.folder,
            "port": self.port,
            "user": "postgres",
            "drill_server": "live_as_superuser",
            **more,
        }
        return PostgresqlEngine().parse({key: value for key, value in given.items() if value is not None}, "artifacts[0]")

    def sql(self, database: str, script: str, check: bool = True) -> str:
        """Run a script."""
        done = subprocess.run(
            [
                "psql",
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                self.folder,
                "-p",
                str(self.port),
                "-U",
                "postgres",
                "-d",
                conninfo(database),
            ],
            input=script.encode(),
            capture_output=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def make(self, name: str, template: str = "template0") -> str:
        """A database, in place of one of that name."""
        quoted = '"' + name.replace('"', '""') + '"'
        self.sql("postgres", f"DROP DATABASE IF EXISTS {quoted};")
        self.sql("postgres", f"CREATE DATABASE {quoted} TEMPLATE {template};")
        return name

    def text(self, database: str, *words: str) -> str:
        """A sum over what pg_dump tells of a database: equal for equal content."""
        argv = ["pg_dump", "-h", self.folder, "-p", str(self.port), "-U", "postgres", "-d", conninfo(database), *words]
        done = subprocess.run(argv, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return hashlib.sha256(re.sub(rb"(?m)^\\(un)?restrict .*\n", b"", done.stdout)).hexdigest()

    def databases(self) -> set[str]:
        """Names of the databases."""
        return set(self.sql("postgres", "SELECT datname FROM pg_database").splitlines())


def conninfo(database: str) -> str:
    """A database for -d."""
    return "dbname='%s'" % database.replace("\\", "\\\\").replace("'", "\\'")


class Made(NamedTuple):
    """An artifact on disk."""

    artifact: Artifact
    stored: Stored
    spec: Mapping[str, Any]


def make_set(spec: Mapping[str, Any], folder: Path, work: Work | None = None, meanwhile: Any = None) -> Made:
    """Dump into a file as a backup does."""
    folder.mkdir(parents=True, exist_ok=True)
    engine = PostgresqlEngine()
    path = folder / ("db" + engine.ending + ".zst")
    path.unlink(missing_ok=True)
    began = time.time()
    work = work or Work(str(folder))
    with engine.dump(spec, work) as dump:
        if meanwhile:
            meanwhile()
        written = stream.write(dump.source, str(path), level=1, tap=dump.tap)
        told = dump.finish()
    artifact = Artifact(
        "postgresql", path.name, written.size, written.sha256, told.tool, began, time.time(), told.tool_version, told.server_version,
        dict(told.counts), "db", "zstd", None, dict(told.samples), dict(told.source),
    )  # fmt: skip
    return Made(artifact, Stored(str(path)), spec)


def restore(made: Made, ident: str, folder: Path, part: tuple[str, ...] = (), target: str | None = None, work: Work | None = None) -> Any:
    """The restorer of an artifact, as a context."""
    folder.mkdir(parents=True, exist_ok=True)
    request = Request(ident, part, target)
    return PostgresqlEngine().restorer(made.spec, made.artifact, made.stored, request, work or Work(str(folder)))


AWKWARD = (HERE / "awkward.sql").read_text(encoding="utf-8")
