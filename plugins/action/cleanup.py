# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse bad rules, tell what would go, record what cleanup finds."""

from __future__ import annotations

from typing import Any

from ansible_collections.opsrunner.runbook.plugins.module_utils._maintenance import files as cleanup
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._action.check import CheckAction
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text import catalogue
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._text.display import show


class ActionModule(CheckAction):
    """Action plugin of cleanup."""

    module = "cleanup"

    @staticmethod
    def check_options(args: dict[str, Any]) -> None:
        """Raises OptionError."""
        cleanup.parse(args)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module; what a dry run would remove is shown whatever the verbosity."""
        result = super().run(tmp, task_vars)
        host = (task_vars or {}).get("inventory_hostname", "localhost")
        for item in result.get("files", ()):
            if item["dry_run"]:
                what = f"{item['action']} {item['path']} ({catalogue.size(item['bytes'])})"
                show([f"{host}: would {what}"], color="yellow")
        return result
