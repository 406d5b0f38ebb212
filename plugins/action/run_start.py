# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open the run that the checks of this playbook are recorded in."""

from __future__ import annotations

from typing import Any

from ansible import context
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action import wall
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import arguments as run_arguments
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import records as runs
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue

_SPEC = {"runbook": {"type": "str", "required": True}, "system": {"type": "str", "required": True}}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """Action plugin of run_start; works on the controller only."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Start the run, or join the one that this ansible-playbook has."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        refused = wall.refusal(task_vars)
        if refused:
            raise AnsibleActionFail(refused)
        _result, args = self.validate_argument_spec(argument_spec=_SPEC)
        job = task_vars.get("awx_job_id") or task_vars.get("tower_job_id")
        folder = str(task_vars.get("playbook_dir", "."))
        try:
            run = runs.start(
                args["runbook"],
                args["system"],
                via="awx" if job else "ansible-playbook",
                job=str(job) if job else None,
                arguments=run_arguments.from_cli(context.CLIARGS),
                revision=run_arguments.revision(folder),
            )
            record = run.read()
            hosts = sorted({*record.get("expected_hosts", ()), *map(str, task_vars.get("ansible_play_hosts_all", ()))})
            run.write({**record, "system": args["system"], "title": task_vars.get("runbook_title"), "expected_hosts": hosts})
        except (OSError, ValueError) as error:
            raise AnsibleActionFail(f"the run cannot be recorded: {error}") from error
        return {"changed": False, "id": run.id, "path": str(run.path), "notes": [catalogue.tell(note) for note in record.get("notes", ())]}
