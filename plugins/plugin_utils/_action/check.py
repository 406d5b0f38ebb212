# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin behind every check module: look, then record what was found.

Each check module has an action plugin of three lines over :class:`CheckAction`. It refuses bad options before anything
runs, masks secrets, adds the host and the English summary, and appends the findings to the run (see ``runs.py``).
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.opsrunner.runbook.plugins.module_utils._core import findings as contract
from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action import wall
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import reader
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._run import records as runs
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import masking as secrets


class CheckAction(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """Base of the action plugins of check modules.

    ``module``: name of the module in this collection. Override :meth:`check_options` to refuse bad input on the
    controller and :meth:`module_args` to hand more to the target than the task says.
    """

    module: ClassVar[str]

    @staticmethod
    def check_options(args: dict[str, Any]) -> None:
        """Refuse options that cannot be used. Raises OptionError with the option's path.

        Also called with one option alone, for the inventory's variable of that name (see ``variables.py``).
        """

    def module_args(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """What the module on the target is given."""
        return args

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module and record its findings."""
        task_vars = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        host = str(task_vars.get("inventory_hostname", "localhost"))
        if self._task.async_val:
            raise AnsibleActionFail(f"{self.module}: async is not supported: findings are recorded when the task ends")
        refused = wall.refusal(task_vars)
        if refused:
            raise AnsibleActionFail(f"{self.module}: {refused}")
        run = runs.current()
        args = dict(self._task.args)
        hidden = secrets.collect(args) | secrets.of_variables(task_vars)
        try:
            self.check_options(args)
        except OptionError as error:
            recorded = self._record(run, host, [self._failure("option", str(error))], hidden)
            raise AnsibleActionFail(secrets.mask_text(f"{self.module}: {error}", hidden), result={"findings": recorded}) from None
        delegated = self._task.delegate_to is not None
        if run and not delegated and run.is_unreachable(host):
            # Each further attempt would cost a connection timeout, and the finding is there already.
            return {**result, "unreachable": True, "changed": False, "msg": f"{host} was not reachable earlier in this run"}
        started = time.monotonic()
        try:
            answer = self._execute_module(
                module_name=f"opsrunner.runbook.{self.module}", module_args=self.module_args(args, task_vars), task_vars=task_vars
            )
            result.update(wall.passed(answer, self.module))
        except AnsibleConnectionFailure as error:
            self._unreachable(run, host, delegated, str(error), started, hidden)
            raise
        if result.get("unreachable"):
            self._unreachable(run, host, delegated, str(result.get("msg", "")), started, hidden)
            return result
        found: list[contract.Finding] = result.get("findings") or []
        if result.get("failed") and not any(item.get("status") != "ok" for item in found):  # else the module has said why
            found = [*found, self._failure("failed", str(result.get("msg", "")))]
        elif not result.get("failed") and not delegated:
            found = [*found, contract.finding("host.reachable", "reachable", "ok", contract.message("host.reachable"))]
        result = secrets.mask(result, hidden)
        recorded = self._record(run, host, found, hidden)
        result["findings"] = [item for item in recorded if item["check"] != "host.reachable"]
        return result

    def _read(self, item: Any) -> contract.Finding:
        """The finding, or one that says why it cannot be used."""
        try:
            return reader.read(item)
        except reader.FindingError as error:
            return self._failure("finding", str(error))

    def _failure(self, what: str, reason: str) -> contract.Finding:
        text = contract.message(f"task.{what}", task=self.module, reason=contract.cut(reason, 300))
        return contract.finding(f"task.{self.module}", "task", "unknown", text)

    def _unreachable(self, run: runs.Run | None, host: str, delegated: bool, reason: str, started: float, hidden: set[str]) -> None:
        if run and not delegated:
            run.mark_unreachable(host)
        text = contract.message("host.unreachable", reason=contract.cut(" ".join(reason.split()), 300))
        took = (time.monotonic() - started) * 1000
        check = "host.reachable" if not delegated else f"task.{self.module}"
        found = contract.finding(check, "reachable", "critical" if not delegated else "unknown", text, duration_ms=took)
        self._record(run, host, [found], hidden)

    def _record(self, run: runs.Run | None, host: str, found: list[contract.Finding], hidden: set[str]) -> list[contract.Finding]:
        own_name = "-" if self._task.args.get("scope") == "system" else host
        complete = reader.worst_of_each(complete_finding(self._read(item), own_name, hidden, bool(self._task.no_log)) for item in found)
        if run:
            run.append(complete)
        return complete


def complete_finding(item: contract.Finding, host: str, hidden: set[str], no_log: bool = False) -> contract.Finding:
    """The finding as it is recorded: host and summary added, secrets masked, evidence left out under ``no_log``."""
    item = secrets.mask(item, hidden)
    item["host"] = host
    if no_log:
        item["message"], item["params"], item["evidence"] = "task.hidden", {"check": item["check"]}, {}
    item["summary"] = contract.cut(" ".join(catalogue.tell(item).split()), contract.SUMMARY_LIMIT)
    item["remedy"] = catalogue.remedy(item) or None
    return item
