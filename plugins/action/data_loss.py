# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse bad options, record what data_loss finds."""

from __future__ import annotations

from typing import Any

from ansible_collections.opsrunner.runbook.plugins.module_utils._restore import loss as data_loss
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action.check import CheckAction
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text.display import show


class ActionModule(CheckAction):
    """Action plugin of data_loss."""

    module = "data_loss"

    @staticmethod
    def check_options(args: dict[str, Any]) -> None:
        """Raises OptionError."""
        data_loss.parse(args)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module; what a restore would lose and where it is written is shown, also where nothing is wrong."""
        result = super().run(tmp, task_vars)
        host = (task_vars or {}).get("inventory_hostname", "localhost")
        for found in result.get("findings") or ():
            if found["status"] == "ok" and (found["check"] == "data_loss.result" or found["check"].endswith(".loss")):
                show([f"{host}: {found['summary']}"])
        return result
