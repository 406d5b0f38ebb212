# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501 - statements read better on one line
"""A MariaDB server of the tests' own, and artifacts made of its databases."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.artifact import Artifact
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import Request, Stored, Work
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.mysql.engine import MysqlEngine
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream

HERE = Path(__file__).parent
PASSWORD = "correct horse 'battery' \\staple"


def program(*names: str) -> str:
    """The first of the programs that is there."""
    for name in names:
        found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/libexec")
        if found:
            return found
    (pytest.fail if os.environ.get("STRICT") == "1" else pytest.skip)(f"{names[0]} is not installed")
    raise AssertionError


class Server:
    """A server in a temporary folder; as root it runs as another user."""

    def __init__(self, port: int) -> None:
        self.program, install = program("mariadbd", "mysqld"), program("mariadb-install-db")
        program("mariadb-dump")
        names = {entry.pw_name for entry in pwd.getpwall()}
        self.user = None if os.geteuid() else ("mysql" if "mysql" in names else "nobody")
        self.port, self.folder = port, tempfile.mkdtemp(prefix="opsrunner-my-", dir="/tmp")
        self.socket = os.path.join(self.folder, "socket")
        if self.user:
            os.chown(self.folder, pwd.getpwnam(self.user).pw_uid, -1)
            os.chmod(self.folder, 0o755)
        self.data = os.path.join(self.folder, "data")
        done = subprocess.run(
            [*self._prefix(), install, "--no-defaults", f"--datadir={self.data}", "--auth-root-authentication-method=normal", "--skip-test-db"],
            cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def _prefix(self) -> list[str]:
        return ["runuser", "-u", self.user, "--"] if self.user else []

    def start(self, *words: str) -> None:
        """Start, wait until it answers."""
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.process = subprocess.Popen(
                [
                    *self._prefix(), self.program, "--no-defaults", f"--datadir={self.data}", f"--socket={self.socket}", f"--port={self.port}",
                    "--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M", "--max-allowed-packet=128M",
                    "--innodb-doublewrite=0", "--skip-log-bin", "--event-scheduler=ON", "--character-set-server=utf8mb4", "--innodb-log-file-size=200M",
                    f"--pid-file={self.folder}/pid", f"--tmpdir={self.data}", *words,
                ],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/",
            )  # fmt: skip
        for _try in range(300):
            if self.process.poll() is None and self._client("SELECT 1;").returncode == 0:
                return
            time.sleep(0.1)
        raise AssertionError(Path(self.folder, "log").read_text(errors="replace")[-2000:])

    def stop(self) -> None:
        """Stop as a crash would."""
        pid = int(Path(self.folder, "pid").read_text())
        os.kill(pid, signal.SIGKILL)
        assert self.process
        self.process.wait()

    def remove(self) -> None:
        """Stop and remove."""
        if self.process:
            self.stop()
        shutil.rmtree(self.folder)

    def spec(self, database: str, **more: Any) -> dict[str, Any]:
        """The engine's keys for a database of this server."""
        given = {"database": database, "socket": self.socket, "user": "root", "drill_server": "live_as_superuser", **more}
        return MysqlEngine().parse({key: value for key, value in given.items() if value is not None}, "artifacts[0]")

    def _client(self, script: str, database: str | None = None) -> subprocess.CompletedProcess[bytes]:
        words = [] if database is None else [f"--database={database}"]
        argv = [
            "mariadb",
            "--no-defaults",
            "-u",
            "root",
            "-S",
            self.socket,
            "-BN",
            "--default-character-set=utf8mb4",
            "--max-allowed-packet=1G",
            *words,
        ]
        return subprocess.run(argv, input=script.encode(), capture_output=True, check=False)

    def sql(self, script: str, database: str | None = None, check: bool = True) -> str:
        """Run a script."""
        done = self._client(script, database)
        assert not check or done.returncode == 0, done.stderr.decode()
        return done.stdout.decode("utf-8", "replace").strip()

    def make(self, name: str, script: str = "") -> str:
        """A database, in place of one of that name."""
        quoted = "`" + name.replace("`", "``") + "`"
        self.sql(f"DROP DATABASE IF EXISTS {quoted}; CREATE DATABASE {quoted} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;")
        if script:
            self.sql(script, name)
        return name

    def text(self, database: str) -> str:
        """A sum over what mariadb-dump tells of a database: equal for equal content."""
        argv = [
            "mariadb-dump", "--no-defaults", "-u", "root", "-S", self.socket, "--routines", "--events", "--triggers", "--hex-blob", "--order-by-primary",
            "--single-transaction", "--skip-dump-date", "--skip-comments", "--default-character-set=utf8mb4", "--max-allowed-packet=1G", "--", database,
        ]  # fmt: skip
        done = subprocess.run(argv, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return hashlib.sha256(re.sub(rb" AUTO_INCREMENT=\d+", b"", done.stdout)).hexdigest()

    def databases(self) -> set[str]:
        """Names of the databases."""
        return set(self.sql("SHOW DATABASES;").splitlines())


class Made(NamedTuple):
    """An artifact on disk."""

    artifact: Artifact
    stored: Stored
    spec: Mapping[str, Any]


def make_set(spec: Mapping[str, Any], folder: Path, work: Work | None = None, meanwhile: Any = None) -> Made:
    """Dump into a file as a backup does."""
    folder.mkdir(parents=True, exist_ok=True)
    engine = MysqlEngine()
    path = folder / ("db" + engine.ending + ".zst")
    path.unlink(missing_ok=True)
    began = time.time()
    with engine.dump(spec, work or Work(str(folder))) as dump:
        if meanwhile:
            meanwhile()
        written = stream.write(dump.source, str(path), level=1, tap=dump.tap)
        told = dump.finish()
    artifact = Artifact(
        "mysql", path.name, written.size, written.sha256, told.tool, began, time.time(), told.tool_version, told.server_version,
        dict(told.counts), "db", "zstd", None, dict(told.samples), dict(told.source),
    )  # fmt: skip
    return Made(artifact, Stored(str(path)), spec)


def restore(made: Made, ident: str, folder: Path, part: tuple[str, ...] = (), target: str | None = None, work: Work | None = None) -> Any:
    """The restorer of an artifact, as a context."""
    folder.mkdir(parents=True, exist_ok=True)
    return MysqlEngine().restorer(made.spec, made.artifact, made.stored, Request(ident, part, target), work or Work(str(folder)))


AWKWARD = (HERE / "awkward_mysql.sql").read_text(encoding="utf-8")
