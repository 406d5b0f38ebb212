# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""End the run: keep its record, write its reports, say what was found."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import STATUSES
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action import wall
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report import prometheus as report_prometheus
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report import publish as reports
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._report import terminal as report_terminal
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import records as runs
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue

_SPEC: dict[str, Any] = {
    "language": {"type": "str", "choices": list(catalogue.LANGUAGES), "default": "en"},
    "fail_on": {"type": "str", "choices": ["none", "warning", "unknown", "critical"], "default": "unknown"},
    "textfile": {"type": "path"},
    "keep_days": {"type": "int", "default": runs.KEEP_DAYS},
}
_NO_RUN = (
    "there is no run to report, and what was found is not kept: opsrunner.runbook.run_start (role preflight) did not come before"
    " (--start-at-task skips it; python -m opsrunner opens the run in any case)"
)
#: What of the record goes out to a job runner.
_STATS = [
    "schema",
    "id",
    "runbook",
    "system",
    "title",
    "state",
    "start",
    "started_at",
    "end",
    "seconds",
    "status",
    "counts",
    "hosts",
    "revision",
    "job",
    "via",
    "problems",
    "notes",
]
#: Findings that go out to a job runner at most; its database is no place for evidence.
_STATS_FINDINGS = 500


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """Action plugin of run_report; works on the controller only."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Finish the current run and report it."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        _result, args = self.validate_argument_spec(argument_spec=_SPEC)
        run = runs.current()
        if run is None:
            raise AnsibleActionFail(_NO_RUN)
        refused = wall.refusal(task_vars)
        if refused:
            # The report appears all the same, with nothing that a host has chosen; the run is then not complete.
            args = {name: option.get("default") for name, option in _SPEC.items()}
            run.add_problem(refused)
        try:
            record = run.finish(hosts=map(str, task_vars.get("ansible_play_hosts_all", ())), fail_on=args["fail_on"])
        except (OSError, ValueError) as error:
            raise AnsibleActionFail(f"the record of run {run.id} cannot be written: {error}") from error
        report, record = reports.publish(run, record, args["language"], keep_days=args["keep_days"])
        if args["textfile"]:
            try:
                report_prometheus.write_atomic(Path(args["textfile"]), report_prometheus.render(record))
            except OSError as error:
                raise AnsibleActionFail(f"textfile {args['textfile']} cannot be written: {error.strerror or error}") from error
        if not os.environ.get(runs.RUN_VARIABLE):  # else the command tells it, after Ansible's own output
            width = shutil.get_terminal_size((100, 24)).columns
            Display().display(report_terminal.render(report, width=width, color=False))
        complete = record["state"] == "complete"
        result = {
            "changed": False,
            "id": run.id,
            "status": record["status"],
            "counts": record["counts"],
            "state": record["state"],
            "problems": record["problems"],
            "report": str(run.home / "report.html"),
            "failing": not complete or runs.fails(record["status"], args["fail_on"]),
        }
        if record.get("via") == "awx":
            result["ansible_stats"] = {"data": {"opsrunner_run": _compact(record)}, "per_host": False, "aggregate": False}
        return result


def _compact(record: runs.Record) -> dict[str, Any]:
    """What goes out by set_stats from a job runner that throws its folder away; ``opsrunner import`` reads it."""
    bad = [item for item in record["findings"] if item["status"] != "ok"]
    bad.sort(key=lambda item: -STATUSES.index(item["status"]))
    return {
        **{name: record.get(name) for name in _STATS},
        "findings": bad[:_STATS_FINDINGS],
        "findings_left_out": max(0, len(bad) - _STATS_FINDINGS),
    }
