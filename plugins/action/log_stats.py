# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin of ``log_stats``."""

from __future__ import annotations

import time
import uuid
from typing import Any

from ansible.errors import AnsibleError

from ansible_collections.opsrunner.runbook.plugins.module_utils._log import options as log_options
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action.check import CheckAction
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._inventory import zones as log_zones


class ActionModule(CheckAction):
    """Refuses bad options and resolves named time zones, which targets with Python 3.8 cannot."""

    module = "log_stats"
    _call_id = ""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module, record its findings, and only then have its cursors count: what was not recorded is read again."""
        result = super().run(tmp, task_vars)
        if self._call_id and not result.get("failed") and not result.get("unreachable"):
            args = {**self._task.args, "zones": log_zones.tables(self._task.args.get("logs"), time.time())}
            reason = self._confirmed({**args, "recorded": self._call_id}, task_vars)
            if reason:
                text = f"log_stats: the next call reads the same lines again, for the host could not note that they were recorded: {reason}"
                result["warnings"] = [*result.get("warnings", []), text]
        return result

    def _confirmed(self, args: dict[str, Any], task_vars: dict[str, Any] | None) -> str:
        """Tell the host that the findings were recorded; why it could not be told, empty when it was."""
        try:
            told = self._execute_module(module_name="opsrunner.runbook.log_stats", module_args=args, task_vars=task_vars)
        except AnsibleError as error:
            return str(error)
        return str(told.get("msg") or "no reason given") if told.get("failed") or told.get("unreachable") else ""

    @staticmethod
    def check_options(args: dict[str, Any]) -> None:
        """Refuse what the module would refuse. Raises OptionError."""
        log_options.parse_limits(args)
        if "logs" in args:
            log_options.parse_logs(args["logs"], time.time(), log_zones.tables(args["logs"], time.time()))

    def module_args(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """The options with the offsets of the zones that they name, and the call's name where a log has a cursor."""
        now = time.time()
        zones = log_zones.tables(args.get("logs"), now)
        if not self._task.check_mode and any(spec.cursor for spec in log_options.parse_logs(args.get("logs"), now, zones)):
            self._call_id = uuid.uuid4().hex
        return {**args, "zones": zones, "call_id": self._call_id or None}
