# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exact commands that end an open restore, which only the controller knows."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from typing import Any

from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action.check import CheckAction
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import arguments
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import records as runs

#: What ends an open restore, in the order in which it is named.
ACTIONS = ("undo", "resume", "discard")


class OpenRestoreAction(CheckAction):
    """Base of the action plugins whose module may report an open restore in ``backup.<name>.restore``."""

    def _execute_module(self, module_name: Any = None, module_args: Any = None, **more: Any) -> dict[str, Any]:
        result: dict[str, Any] = super()._execute_module(module_name=module_name, module_args=module_args, **more)
        fill(result.get("findings") or (), names(dict(self._task.args)), runs.current())
        return result


def names(args: dict[str, Any]) -> list[str]:
    """The backups of a task."""
    return [str(one["name"]) for one in args.get("backups") or () if isinstance(one, dict) and one.get("name")]


def fill(found: Iterable[Any], backups: Iterable[str], run: runs.Run | None) -> None:
    """Put the commands into findings that name ways out of an open restore. What a host says is never shown as a command."""
    by_check = {f"backup.{name}.restore": name for name in backups}
    for item in found:
        params = item.get("params") if isinstance(item, dict) else None
        if not isinstance(params, dict) or "ways" not in params:
            continue
        ways = params["ways"] if isinstance(params["ways"], list) else []
        name = by_check.get(str(item.get("check")))
        params["ways"] = [way(action, name, run) for action in ACTIONS if f"--{action}" in ways] if name else []


def way(action: str, backup: str, run: runs.Run | None) -> str:
    """The command for an action on the restore of a backup."""
    confirm = ["--confirm", "restore_discard"] if action == "discard" else []
    if run is not None and os.environ.get(runs.RUN_VARIABLE):
        return arguments.command(run.read(), "restore", "--backup", backup, f"--{action}", *confirm)
    words = ["-e", f"restore_backup={backup}", "-e", f"restore_action={action}"]
    words += ["-e", "{confirm: [restore_discard]}"] if confirm else []
    return "ansible-playbook opsrunner.runbook.restore " + shlex.join(words)
