# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Artifacts made and restored by an engine itself, without a set around them."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.artifact import Artifact
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import Engine, Stored, Work
from ansible_collections.opsrunner.runbook.plugins.module_utils._process import stream as backup_stream
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import Limits

QUICK = Limits(nice=0, io_class=None)


class Bench:
    """A folder for artifacts and scratch folders."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder, self.engine = folder, engine
        self.warned: list[str] = []

    def work(self) -> Work:
        """An engine's work, with a scratch folder of its own."""
        return Work(tempfile.mkdtemp(dir=self.folder, prefix="scratch-"), limits=QUICK, warn=self.warned.append)

    def spec(self, **keys: Any) -> dict[str, Any]:
        """What the engine makes of an artifact's keys."""
        read = {key: self.engine.readers[key](value, key) for key, value in keys.items()}
        return self.engine.parse(read, "artifacts[0]")

    def make(self, compression: str = "zstd", **keys: Any) -> tuple[Artifact, Stored]:
        """Dump into a new file."""
        work = self.work()
        spec = self.spec(**keys)
        path = os.path.join(self.folder, f"artifact{len(os.listdir(self.folder))}")
        with self.engine.dump(spec, work) as dump:
            written = backup_stream.write(dump.source, path, compression, limits=QUICK, place=work.place, tap=dump.tap)
            told = dump.finish()
        artifact = Artifact(
            engine=self.engine.name,
            file=os.path.basename(path),
            size=written.size,
            sha256=written.sha256,
            tool=told.tool,
            start=0.0,
            end=0.0,
            counts=told.counts,
            name=os.path.basename(path),
            compression=compression,
            samples=told.samples,
            source=told.source,
        )
        return artifact, Stored(path)


#: What a process does to names; the kill comes before the n-th of them.
STEPS = ("rename", "mkdir", "unlink", "rmdir", "fsync")


def killed(do: Callable[[], object], at: int) -> bool:
    """Do it in another process that is killed before its step number ``at``; whether that came."""
    child = os.fork()
    if child == 0:
        left = at

        def counted(real: Callable[..., object]) -> Callable[..., object]:
            def step(*args: object, **keys: object) -> object:
                nonlocal left
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
                return real(*args, **keys)

            return step

        for name in STEPS:
            setattr(os, name, counted(getattr(os, name)))
        try:
            do()
        except BaseException as error:
            print(error, file=sys.stderr)
            os._exit(1)
        os._exit(0)
    _child, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)
