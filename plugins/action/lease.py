# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Name the holder of a lease by the run, record whether it was had."""

from __future__ import annotations

import getpass
import os
import socket
from typing import Any

from ansible.errors import AnsibleConnectionFailure

from ansible_collections.opsrunner.runbook.plugins.module_utils import lease_run
from ansible_collections.opsrunner.runbook.plugins.module_utils.findings import cut, finding, message
from ansible_collections.opsrunner.runbook.plugins.plugin_utils import runs, secrets
from ansible_collections.opsrunner.runbook.plugins.plugin_utils.check_action import CheckAction


class ActionModule(CheckAction):
    """Action plugin of lease."""

    module = "lease"

    @staticmethod
    def check_options(args: dict[str, Any]) -> None:
        """Raises OptionError."""
        lease_run.parse({"holder": "-", **args})

    def module_args(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """With the run as the holder: no other run has its id."""
        return {**args, "holder": args.get("holder") or _holder()}

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
