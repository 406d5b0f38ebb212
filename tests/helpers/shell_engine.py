# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A test double of an engine: its dump is a shell's output, so that a test says how a dump goes wrong. And backups made of it."""

from __future__ import annotations

import contextlib
import os

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import options_with_engines as backup_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup import plan as backup_plan
from ansible_collections.opsrunner.runbook.plugins.module_utils._engine.base import Dump, Engine, EngineError, Told
from ansible_collections.opsrunner.runbook.plugins.module_utils._process.place import Limits, command


class ShellEngine(Engine):
    """``script``: the dump; ``blocks``: blocks instead of a command; ``whole``: False when the engine finds the dump not whole."""

    name = "shell"
    ending = ".dump"

    @contextlib.contextmanager
    def dump(self, spec, work):
        """The script's output, or the blocks."""
        seen = []
        if "open" in spec:
            raise EngineError("unreachable", spec["open"])
        if "scratch" in spec:
            with open(os.path.join(work.scratch, "temporary"), "w") as file:
                file.write("x")
        if "warn" in spec:
            work.warn(spec["warn"])
        if "error" in spec:
            raise spec["error"]

        def finish():
            if not spec.get("whole", True):
                raise EngineError("failed", "the dump ends before its end")
            if "told" in spec:
                return spec["told"]
            return Told({"rows.a": 2, "rows.b": 3, "files": 1}, {"a": "ff"}, {"database": "shop"}, "sh", "1.0", "2.0")

        source = spec["blocks"] if "blocks" in spec else command("sh", "-c", spec["script"])
        yield Dump(source, finish, (lambda block: seen.append(len(block))) if spec.get("tap") else None)


def backup(root, name="app", artifacts=None, **plan):
    """A backup whose artifacts are ``{name: spec}``."""
    artifacts = {"db": {"script": "echo data"}} if artifacts is None else artifacts
    compression = plan.pop("compression", "zstd")
    made = tuple(backup_plan.ArtifactPlan(key, "shell", compression, None, spec) for key, spec in artifacts.items())
    bare = backup_options.parse([{"name": name, "root": str(root)}])[0]
    plan.setdefault("limits", Limits(0, None))
    return bare._replace(plan=backup_plan.Plan(artifacts=made, **plan))


def engines(_name):
    """The double, whatever is asked for."""
    return ShellEngine()


def told(found):
    """The message of a finding with its parameters; the catalogue's texts are not for Python 3.8."""
    return " ".join([found["message"], *map(str, found["params"].values())])


def exit_status(child):
    """Wait for a process: its exit status, or None when a signal killed it."""
    status = os.waitpid(child, 0)[1]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
