# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse bad options, show sets and plans, record what became of a restore."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure

from ansible_collections.opsrunner.runbook.plugins.action.health_probe import bundle, check_expressions
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.findings import cut, finding, message
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, parse_words
from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import outcome as restore_outcome
from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import plan as restore_plan
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action import lease_held, open_restore
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import records as runs
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import masking as secrets
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text.display import show


class ActionModule(open_restore.OpenRestoreAction):
    """Action plugin of restore."""

    module = "restore"

    @staticmethod
    def check_options(args: dict[str, Any]) -> None:
        """Raises OptionError."""
        check_expressions(list(restore_plan.parse(args).probes))

    def module_args(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """With jmespath where a probe of the health needs it."""
        probes = restore_plan.parse(args).probes
        return {**args, "jmespath": bundle()} if any(probe.get("json") for probe in probes) else args

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module; sets that are listed and a plan that is not carried out are shown, whatever the verbosity."""
        if _is_of_another_host(dict(self._task.args), task_vars or {}):
            return {"changed": False, "skipped": True, "skip_reason": "the backup is one of another host", "findings": []}
        host, run = str((task_vars or {}).get("inventory_hostname", "localhost")), runs.current()
        refused = lease_held.missing(run, task_vars or {}) if not self._task.check_mode and _changes(dict(self._task.args)) else None
        if refused:
            found = finding("task.restore", "task", "unknown", message("task.lease", task=self.module, reason=refused))
            raise AnsibleActionFail(f"restore: {refused}", result={"findings": self._record(run, host, [found], set())})
        asked = not (run and run.is_unreachable(host))
        try:
            result = super().run(tmp, task_vars)
        except AnsibleConnectionFailure as error:
            self._record(run, host, self._open("cut", str(error)), secrets.of_variables(task_vars or {}))
            raise
        if result.get("unreachable") and asked:
            self._record(run, host, self._open("cut", str(result.get("msg", ""))), secrets.of_variables(task_vars or {}))
        for line in [*_sets(result.get("sets") or ()), *_plan(result.get("plan") or {}), *_done(result)]:
            show([f"{host}: {line}"])
        return result

    def _execute_module(self, module_name: Any = None, module_args: Any = None, **more: Any) -> dict[str, Any]:
        """A module that was killed has no findings; then this says what it may have left open."""
        result: dict[str, Any] = super()._execute_module(module_name=module_name, module_args=module_args, **more)
        if result.get("failed") and not result.get("findings") and not result.get("unreachable"):
            result["findings"] = self._open("ended", str(result.get("msg", "")))
        return result

    def _open(self, how: str, reason: str) -> list[dict[str, Any]]:
        """The findings that a restore may be open, where the task was to change something."""
        args = dict(self._task.args)
        if self._task.check_mode or not _changes(args):
            return []
        names = [str(args["backup"])] if args.get("backup") else open_restore.names(args)
        params = {"reason": cut(" ".join(reason.split()), 200), "ways": ["--undo", "--resume"]}
        found = [
            finding(f"backup.{name}.restore", "backup", "unknown", message(f"backup.restore.{how}", name=name, **params)) for name in names
        ]
        open_restore.fill(found, names, runs.current())
        return found


def _changes(args: dict[str, Any]) -> bool:
    """Whether a task is to change something."""
    if args.get("action") in ("undo", "resume"):
        return True
    try:
        words = parse_words(args.get("confirm"), "confirm")
    except OptionError:  # the module's own check says what is wrong with it
        return False
    return (restore_plan.DISCARD_STEP if args.get("action") == "discard" else restore_plan.RESTORE_STEP) in words


def _is_of_another_host(args: dict[str, Any], task_vars: dict[str, Any]) -> bool:
    """Whether this host has not the backup and another one of the play has it: then there is nothing to do here."""

    def has(backups: Any) -> bool:
        made = [one for one in backups or () if isinstance(one, dict) and one.get("artifacts")]
        return any(one.get("name") == args.get("backup") for one in made) if args.get("backup") else bool(made)

    if has(args.get("backups")):
        return False
    hosts = task_vars.get("ansible_play_hosts_all") or ()
    known = task_vars.get("hostvars") or {}
    return any(has(known[host].get("runbook_backups")) for host in hosts if host in known)


def _sets(sets: Any) -> list[str]:
    lines = []
    for one in sets:
        proved = f"rung {one['rungs'][0]['rung']} at {one['rungs'][0]['at']}" if one["rungs"] else "not proved"
        wrong = f"; not whole: {one['problem']}" if one["problem"] else ""
        lines.append(f"{one['backup']}: {one['set']}, {catalogue.size(one['size'])}, {proved}{wrong}")
        for artifact in one["artifacts"]:
            counts = ", ".join(f"{name} {count}" for name, count in list(artifact["counts"].items())[:6])
            only = "" if artifact["restorable"] else "; only a schema, not for a restore"
            lines.append(f"    {artifact['name']} ({artifact['engine']}, {catalogue.size(artifact['size'])}): {counts}{only}")
    return lines


def _done(result: dict[str, Any]) -> list[str]:
    """What came of it, where all is well; what is not is in the report."""
    if result.get("sets"):
        return []
    lines = [str(found.get("summary", "")) for found in result.get("findings") or () if found.get("status") == "ok"]
    if "aside" in (result.get("plan") or {}) and not result.get("failed"):
        lines.append("--undo takes it back; when all is right, --discard --confirm restore_discard removes what is set aside")
    return lines


def _plan(plan: dict[str, Any]) -> list[str]:
    if "discard" in plan:
        return [f"would remove {path}" for path in plan["discard"]]
    if "aside" in plan:
        return [f"set aside: {path}" for path in plan["aside"]]
    return [f"would: {line}" for line in restore_outcome.told_plan(plan)] if plan else []
