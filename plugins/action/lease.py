# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Name the holder of a lease by the run, take it over from a run that is gone, record whether it was had."""

from __future__ import annotations

import getpass
import os
import shlex
import socket
from collections.abc import Sequence
from typing import Any

from ansible.errors import AnsibleConnectionFailure

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import cut, finding, message
from ansible_collections.opsrunner.runbook.plugins.module_utils._lease import run as lease_run
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action import lease_held, lease_holder, wall
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action.check import CheckAction
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import records as runs
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import masking as secrets
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text.display import show


class ActionModule(CheckAction):
    """Action plugin of lease."""

    module = "lease"

    @staticmethod
    def check_options(args: dict[str, Any]) -> None:
        """Raises OptionError."""
        lease_run.parse({"holder": "-", **args})

    def module_args(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """With the run as the holder: no other run has its id."""
        return {**args, "holder": args.get("holder") or _holder(), "process": lease_holder.identity(), "dead": ""}

    def _execute_module(self, module_name: Any = None, module_args: Any = None, **more: Any) -> dict[str, Any]:
        """Once more where the process that has the lease is known to be gone: nothing but the one look counts for the findings."""
        result = wall.passed(super()._execute_module(module_name=module_name, module_args=module_args, **more), self.module)
        there = result.get("lease")
        if not isinstance(there, dict):
            return result
        if not (result.get("failed") and there) or module_args.get("action", "take") != "take":
            return result
        process = str(there.get("process", ""))
        alive = lease_holder.state(process)
        if alive == lease_holder.DEAD:
            answer = super()._execute_module(module_name=module_name, module_args={**module_args, "dead": process}, **more)
            again = wall.passed(answer, self.module)
            if not again.get("failed") and not self._task.check_mode:
                number = lease_holder.pid(process)
                told = f"the lease of {there.get('system')} is taken over from {there.get('holder')}: its process {number} is gone"
                show([told])
            return again
        if alive == lease_holder.ALIVE:
            return _told_anew(result, "system.lease.alive", pid=lease_holder.pid(process))
        return _told_anew(result, "system.lease.held", command=_command(module_args.get("again") or ()))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module. A host of leases that cannot be reached is a no, and a failure of the task.

        Told as unreachable it would be passed over in plays that ignore unreachable hosts.
        """
        try:
            result = super().run(tmp, task_vars)
            reason = str(result.get("msg", "")) if result.get("unreachable") else None
        except AnsibleConnectionFailure as error:
            reason = str(error)
        if reason is None:
            action = self._task.args.get("action", "take")
            if action == "release" or (action in ("take", "renew") and not self._task.check_mode):
                held = action != "release" and not result.get("failed") and result.get("held") is True
                lease_held.note(runs.current(), str(self._task.args.get("system")), held)
            return result
        args, task_vars = self._task.args, task_vars or {}
        reason = "%s: %s" % (self._task.delegate_to or "the host", cut(" ".join(reason.split()), 200))
        found = finding("system.lease", "lease", "critical", message("system.lease.failed", system=str(args.get("system")), reason=reason))
        host = str(task_vars.get("inventory_hostname", "localhost"))
        recorded = self._record(runs.current(), host, [found], secrets.of_variables(task_vars))
        failed = args.get("action") != "release"  # it ends by itself
        return {"failed": failed, "changed": False, "held": False, "msg": f"the lease cannot be had: {reason}", "findings": recorded}


def _holder() -> str:
    run = runs.current()
    try:
        who = getpass.getuser()
    except (KeyError, OSError):
        who = str(os.getuid())
    return f"{who}@{socket.gethostname()}, " + (f"run {run.id}" if run else f"process {os.getppid()}")


def _told_anew(result: dict[str, Any], identifier: str, **params: str) -> dict[str, Any]:
    """The refusal with what is known here of the run that has the lease."""
    for found in result.get("findings") or ():
        known = isinstance(found, dict) and isinstance(found.get("params"), dict)
        if known and found.get("message") == "system.lease.held":
            found["message"], found["params"] = identifier, {**found["params"], **params}
    return result


def _command(options: Sequence[str]) -> str:
    """What to type when the lease is to be taken over."""
    run = runs.current()
    if run is None or not os.environ.get(runs.RUN_VARIABLE):
        return "the same ansible-playbook command with -e lease_take_over=true"
    record = run.read()
    where = record.get("arguments", {}).get("inventory") or []
    places = [word for path in where for word in ("-i", str(path))] or ["--system", str(record["system"])]
    return "python -m opsrunner " + shlex.join([str(record["runbook"]), *places, *(str(word) for word in options), "--take-over"])
