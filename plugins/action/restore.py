# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse bad options, show sets and plans, record what became of a restore."""

from __future__ import annotations

from typing import Any

from ansible.utils.display import Display

from ansible_collections.opsrunner.runbook.plugins.action.health_probe import bundle, check_expressions
from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import outcome as restore_outcome
from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import plan as restore_plan
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action.check import CheckAction
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue


class ActionModule(CheckAction):
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
        result = super().run(tmp, task_vars)
        host = (task_vars or {}).get("inventory_hostname", "localhost")
        for line in [*_sets(result.get("sets") or ()), *_plan(result.get("plan") or {}), *_done(result)]:
            Display().display(f"{host}: {line}")
        return result


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
