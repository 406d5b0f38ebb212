# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A shop of two folders and a database with a backup of them, restored for real.

The services are plain processes under :class:`ProcessRuntime`, a stand-in for systemd, which a test has not: it knows a service by a
file with the number of a process that lives, so that another process sees the same.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import journal as restore_journal
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import make as backup_make
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import finding, message
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import registry as backup_engines
from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import plan as restore_plan
from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import run as restore_run
from ansible_collections.opsrunner.runbook.plugins.module_utils._runtime.base import Runtime, ServiceError

SERVICES = ("web", "worker", "mailer")
#: Of the services the ones that are up; one is down and has to stay so.
UP = ("web", "worker")


class ProcessRuntime(Runtime):
    """Services that are processes, named in files. ``refuse``: verb and service that fail."""

    def __init__(self, folder: Path, refuse: tuple[str, str] | None = None) -> None:
        self.folder, self.refuse = folder, refuse

    def _pid(self, service: str) -> int | None:
        if service not in SERVICES:
            raise ServiceError(f"there is no service {service}")
        try:
            pid = int((self.folder / service).read_text())
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (OSError, ValueError):
            return None
        return None if state == "Z" else pid

    def is_up(self, service: str) -> bool:
        """Whether its process lives."""
        return self._pid(service) is not None

    def stop(self, service: str) -> None:
        """End the process."""
        if self.refuse == ("stop", service):
            raise ServiceError(f"{service} does not stop")
        pid = self._pid(service)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            self.wait(service, False, 10, 0.005)
        (self.folder / service).unlink(missing_ok=True)

    def start(self, service: str) -> None:
        """Start a process that outlives whoever started it."""
        if self.refuse == ("start", service):
            raise ServiceError(f"{service} does not start")
        if self.is_up(service):
            return
        clean = {"PATH": os.environ["PATH"]}  # as systemd does it
        process = subprocess.Popen(
            ["sleep", "600"],
            env=clean,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        partial = self.folder / f".{service}"
        partial.write_text(str(process.pid))
        partial.rename(self.folder / service)


class Shop:
    """``live``: the data; ``root``: of the backup; ``journals``: of restores."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.live, self.root, self.journals = folder / "live", folder / "root", folder / "journals"
        self.scratch, self.running = folder / "scratch", folder / "running"

    def set_up(self) -> None:
        """Data, a set of it, then other data."""
        for path in (self.live, self.scratch, self.running):
            path.mkdir(parents=True)
        self.write("old", extra=True)
        self.make()
        self.write("new")

    def open(self) -> None:
        """Have the services up."""
        for service in UP:
            self.runtime().start(service)

    def write(self, word: str, extra: bool = False) -> None:
        """Fill the live folders."""
        subprocess.run(["rm", "-rf", self.live], check=True)
        self.write_database(word)
        for part in ("data", "pictures"):
            folder = self.live / part / "inner"
            folder.mkdir(parents=True)
            for number in range(20):
                (folder / f"{word}-{number}").write_text(f"{word} {part} {number}\n" * 50)
            (self.live / part / "same").write_text(word)
            (self.live / part / "link").symlink_to("same")
            if extra:
                (folder / "only-in-the-set").write_text("x")

    def write_database(self, word: str) -> None:
        """A database with rows of this word, and a log that is not written back."""
        self.live.mkdir(parents=True)
        script = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA journal_mode = wal")
database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, word TEXT)")
database.execute("BEGIN")
database.executemany("INSERT INTO orders (word) VALUES (?)", [(sys.argv[2],)] * 200)
database.execute("COMMIT")
os._exit(0)  # the log stays, as after a kill
"""
        subprocess.run([sys.executable, "-c", script, str(self.live / "shop.db"), word], check=True)

    def words(self) -> set[str]:
        """The words in the database, of which a copy is read: reading changes the log's index."""
        copy = self.folder / "copy"
        subprocess.run(["rm", "-rf", copy], check=True)
        copy.mkdir()
        for path in self.live.glob("shop.db*"):
            (copy / path.name).write_bytes(path.read_bytes())
        database = sqlite3.connect(copy / "shop.db")
        try:
            return {word for (word,) in database.execute("SELECT word FROM orders")}
        finally:
            database.close()

    def options(self, **more: Any) -> dict[str, Any]:
        """The module's options."""
        artifacts = [{"name": part, "engine": "files", "paths": [str(self.live / part)]} for part in ("data", "pictures")]
        artifacts.insert(1, {"name": "db", "engine": "sqlite", "database": str(self.live / "shop.db")})
        restore = {"services": list(SERVICES), "health_timeout": "2s", **more.pop("restore", {})}
        backup = {
            "name": "shop",
            "root": str(self.root),
            "artifacts": artifacts,
            "restore": restore,
            "nice": 0,
            "io_class": "none",
            "drill": {"scratch": str(self.scratch)},
        }
        return {"backups": [backup], "journal_folder": str(self.journals), "set": "newest", "confirm": ["restore"], **more}

    def make(self) -> str:
        """Make a set; its name."""
        results = backup_make.run(backup_make.parse({**self.options(), "system": "shop"}), "shop")
        (made,) = results.made
        assert made.set, made.found
        return made.set

    def runtime(self, refuse: tuple[str, str] | None = None) -> ProcessRuntime:
        """The services."""
        return ProcessRuntime(self.running, refuse)

    def means(
        self,
        observe: Callable[[str], None] = lambda _step: None,
        refuse: tuple[str, str] | None = None,
        healthy: Callable[[], bool] = lambda: True,
        engines: Callable[[str], Any] = backup_engines.engine,
    ) -> restore_run.Means:
        """The means of a restore here."""

        def health(_probes: Sequence[Any], _deadline: float) -> list[dict[str, Any]]:
            return [finding("http.shop", "http", "ok" if healthy() else "critical", message("host.reachable"))]

        return restore_run.Means(self.runtime(refuse), health, engines=engines, observe=observe, scratch=str(self.scratch), settle=0.0)

    def run(self, check_mode: bool = False, means: restore_run.Means | None = None, **options: Any) -> restore_run.Outcome:
        """One call of the module."""
        return restore_run.run(restore_plan.parse(self.options(**options)), check_mode, means or self.means())

    def state(self) -> dict[str, Any]:
        """Every file with its content, mode, owner and time, every name beside it, and which services are up."""
        found: dict[str, Any] = {}
        for path in sorted(self.live.rglob("*")):
            told = path.lstat()
            content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
            found[str(path.relative_to(self.live))] = (content, told.st_mode, told.st_uid, told.st_gid, told.st_mtime_ns)
        services = {service: self.runtime().is_up(service) for service in SERVICES}
        return {"files": found, "services": services}

    def holds(self, word: str) -> bool:
        """Whether folders and database hold this data and no other."""
        names = {path.name for part in ("data", "pictures") for path in (self.live / part / "inner").iterdir()}
        return self.words() == {word} and names == {f"{word}-{number}" for number in range(20)} | (
            {"only-in-the-set"} if word == "old" else set()
        )

    def journal(self) -> restore_journal.State | None:
        """The journal that is there."""
        return restore_journal.read(str(self.journals), "shop")

    def tear_down(self) -> None:
        """End the services."""
        for service in SERVICES:
            self.runtime().stop(service)


def child(shop: Shop, observe: Callable[[str], None], engines: Callable[[str], Any] = backup_engines.engine, **options: Any) -> int:
    """Restore in a process of its own; returns its number."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        outcome = shop.run(means=shop.means(observe, engines=engines), **options)
        status = 0 if outcome.failed is None else 3
    finally:
        os._exit(status)


def killed(pid: int, after: float | None = None) -> bool:
    """Kill a child after a time, if it lives; whether it was killed."""
    if after is not None:
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
    _pid, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)
