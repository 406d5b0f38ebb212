# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record the failure that a playbook's rescue has caught."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import cut, finding, message
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action.check import complete_finding
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import records as runs
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import masking as secrets


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """Action plugin of run_failure; works on the controller only."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Record the failed task as an ``unknown`` finding of the host, or as a problem of the whole run."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        _result, args = self.validate_argument_spec(argument_spec={"fatal": {"type": "bool", "default": False}})
        host = str(task_vars.get("inventory_hostname", "-"))
        where, task, failed = self._cause(host, task_vars)
        name = str(task.get("name") or task.get("action") or "task")
        reason = " ".join(str(failed.get("msg") or failed.get("exception") or "no message").split())
        hidden = secrets.collect(dict(task.get("args") or {})) | secrets.of_variables(task_vars)
        run = runs.current()
        found = None
        if not failed.get("findings"):  # else its own action plugin has recorded it
            check = "task." + (re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "task")
            text = message("task.failed", task=name, reason=cut(reason, 300))
            if where != host:
                text = message("task.failed_elsewhere", task=name, where=where, reason=cut(reason, 300))
            found = complete_finding(finding(check, "task", "unknown", text), host, hidden)
        if run and args["fatal"]:
            # What check_variables refuses is told line by line already.
            if not failed.get("problems"):
                run.add_problem(secrets.mask_text(f"{name}: {reason}", hidden))
        elif run and found:
            run.append([found])
        return {"changed": False, "findings": [found] if found else []}

    def _cause(self, host: str, task_vars: dict[str, Any]) -> tuple[str, Mapping[str, Any], Mapping[str, Any]]:
        """The host, task and result that this rescue is for.

        A task that runs once for all hosts fails them all, but Ansible tells its failure to the host alone that it ran for; the
        others have none, or that of an earlier block.
        """
        guarded = _guarded(self._task)
        own = task_vars.get("ansible_failed_task") or {}
        if own.get("uuid") not in guarded:
            variables = task_vars.get("hostvars") or {}
            for other in task_vars.get("ansible_play_hosts_all") or ():
                seen = variables.get(other, {})
                task = seen.get("ansible_failed_task") or {}
                if task.get("run_once") and task.get("uuid") in guarded:
                    return str(other), task, seen.get("ansible_failed_result") or {}
        # What a dynamic include brought is in no block's list.
        return host, own, task_vars.get("ansible_failed_result") or {}


def _guarded(task: Any) -> set[str]:
    """The tasks that a rescue's block guards, by their unique names."""
    block = task._parent
    while block is not None and not getattr(block, "rescue", None):
        block = block._parent
    found: set[str] = set()
    left = list(block.block) if block is not None else []
    while left:
        one = left.pop()
        found.add(str(one._uuid))
        for part in ("block", "rescue", "always"):
            left += getattr(one, part, None) or []
    return found
