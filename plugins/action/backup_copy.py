# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse bad options, tell of each set at a copy why it stays or goes, record what backup_copy finds."""

from __future__ import annotations

from typing import Any

from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.copy import options as backup_copy_options
from ansible_collections.opsrunner.runbook.plugins.module_utils._backup.copy import prune as backup_copy_prune
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action import set_plans
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action.check import CheckAction


class ActionModule(CheckAction):
    """Action plugin of backup_copy."""

    module = "backup_copy"

    @staticmethod
    def check_options(args: dict[str, Any]) -> None:
        """Raises OptionError."""
        backup_copy_options.parse(args)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module; where sets could be removed and are not each is shown with its reason."""
        result = super().run(tmp, task_vars)
        if self._task.check_mode or backup_copy_prune.STEP not in (self._task.args.get("confirm") or []):
            set_plans.show(result, task_vars)
        return result
