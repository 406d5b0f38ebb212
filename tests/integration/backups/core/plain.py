# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of real files and a real SQLite database for tests of the making of sets, and ways to look at what is left.

The engines here are plain ones, ``tar`` and ``sqlite3`` as they are: what is tested is what is around them.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import random
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import ledger as backup_ledger
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import make as backup_make
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options_with_engines as backup_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import plan as backup_plan
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import sets as backup_sets
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.options_with_engines import Backup
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine import registry as backup_engines
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import Dump, Engine, Told, Work
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import Limits, command

NOW = 1_800_000_000.0
DAY = 86400.0


class PlainEngine(Engine):
    """The output of a command, whose words are the spec's ``argv``."""

    ending = ".dump"

    @contextlib.contextmanager
    def dump(self, spec: Mapping[str, Any], work: Work) -> Iterator[Dump]:
        """Start nothing yet."""
        Path(work.scratch, "temporary").write_text("left by a kill")
        yield Dump(command(*spec["argv"]), lambda: Told({"files": 1}, tool=spec["argv"][0]))


def data(folder: Path, size: int = 300_000) -> Path:
    """A folder with files that do not compress, and a database."""
    (folder / "files").mkdir(parents=True)
    noise = random.Random(4)
    for number in range(3):
        (folder / "files" / f"{number}.bin").write_bytes(noise.randbytes(size // 3))
    database = sqlite3.connect(folder / "app.db")
    database.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)")
    database.executemany("INSERT INTO users (name) VALUES (?)", [(f"user {number}",) for number in range(500)])
    database.commit()
    database.close()
    return folder


def backup(root: Path, folder: Path, bandwidth: int | None = None, **plan: Any) -> Backup:
    """The backup of :func:`data`."""
    dumps = {"files": ["tar", "-cf", "-", "-C", str(folder), "files"], "db": ["sqlite3", str(folder / "app.db"), ".dump"]}
    made = tuple(backup_plan.ArtifactPlan(name, "plain", "zstd", None, {"argv": argv}) for name, argv in dumps.items())
    bare = backup_options.parse([{"name": "app", "root": str(root), "keep": {"last": 2}}])[0]
    return bare._replace(plan=bare.plan._replace(artifacts=made, limits=Limits(0, None, bandwidth), **plan))


def real_backup(root: Path, folder: Path, bandwidth: int | None = None) -> Backup:
    """The backup of :func:`data` by the collection's own engines."""
    artifacts = [
        {"name": "files", "engine": "files", "paths": [str(folder / "files")]},
        {"name": "db", "engine": "sqlite", "database": str(folder / "app.db")},
    ]
    item = {"name": "app", "root": str(root), "artifacts": artifacts, "nice": 0, "io_class": "none", "bandwidth": bandwidth}
    return backup_options.parse([item])[0]


def make(what: Backup, at: float) -> backup_make.Made:
    """Make a set now, in this process."""
    plain = any(plan.engine == "plain" for plan in what.plan.artifacts)
    engines = (lambda _name: PlainEngine()) if plain else backup_engines.engine
    (made,) = backup_make.run([what], "shop", clock=lambda: at, engines=engines).made
    return made


def names(root: Path) -> list[str]:
    """What lies in a root beside ledger and lock."""
    return sorted(name for name in os.listdir(root) if not name.startswith((".", "ledger")))


def sound(root: Path) -> list[str]:
    """The sets of a root, each of which must be whole to the last byte; the ledger must hold."""
    sets = backup_sets.listed(str(root))
    for one in sets:
        assert one.problem is None, (one.name, one.problem)
        assert one.manifest is not None
        for artifact in one.manifest.artifacts:
            content = Path(one.path, artifact.file).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (artifact.size, artifact.sha256), (one.name, artifact.file)
        assert sorted(os.listdir(one.path)) in (
            sorted(["manifest.json", *(artifact.file for artifact in one.manifest.artifacts)]),
            sorted(["manifest.json", "verified.json", *(artifact.file for artifact in one.manifest.artifacts)]),
        )
    assert backup_ledger.read(str(root)).broken is None
    return [one.name for one in sets]


def holds_the_data(folder: Path, name: str, original: Path) -> None:
    """A set gives back the files and rows that it was made of."""
    unpacked = subprocess.run(["zstd", "-dc", folder / name / "files.dump.zst"], capture_output=True, check=True).stdout
    again = subprocess.run(["tar", "-xOf", "-", "files/2.bin"], input=unpacked, capture_output=True, check=True).stdout
    assert again == (original / "files/2.bin").read_bytes()
    text = subprocess.run(["zstd", "-dc", folder / name / "db.dump.zst"], capture_output=True, check=True).stdout.decode()
    database = sqlite3.connect(":memory:")
    database.executescript(text)
    assert database.execute("SELECT count(*), max(name) FROM users").fetchone() == (500, "user 99")
    database.close()


def forked(do: Callable[..., Any], *args: Any) -> int:
    """Call it in a process of its own; returns the process."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        do(*args)
        status = 0
    finally:
        os._exit(status)


def ended(child: int) -> int:
    """Wait for a process: its status, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


#: What changes a disk, and what leads to it. ``os.open`` is among them, for it creates files.
STEPS = ("open", "mkdir", "write", "pwrite", "fsync", "rename", "unlink", "rmdir", "ftruncate")


def die_at(number: int, by_half: bool) -> None:
    """From here on, kill this process instead of its step of that number; ``by_half``: in the middle of its write of that number."""
    count = itertools.count(1)

    def dying(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            if next(count) == number:
                if by_half:
                    real(args[0], bytes(args[1])[: len(args[1]) // 2], *args[2:])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return step

    for name in ("write", "pwrite") if by_half else STEPS:
        setattr(os, name, dying(name, getattr(os, name)))
